"""The records of a finished run, each proven against those that it was computed from.

Files are compared by their sha256 and told apart by what they say, never by their names. What the table of
scores prints is computed again from the scores of the clips; intervals and p-values need the draws of the
aggregate stage and are not.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.aggregate import TOTALS, check_result, on_samples, ranks_by_row, row_groups, totals
from evaluation.files import file_sha256
from evaluation.metrics import Metric, metrics
from evaluation.records import (
    Clip,
    DimensionResult,
    FilteredSet,
    ImportedSource,
    Inputs,
    Prompt,
    ScoresTable,
    SecondScoring,
    Sha256,
    TableInputs,
    read_json,
    read_jsonl,
)
from evaluation.second_scores import seen_prompts
from evaluation.selection import check_filtered, compare_inputs

AGAIN = "build the table again (the aggregate stage)"

Results = Mapping[str, Mapping[str, DimensionResult]]
"""By row and dimension."""
PromptSums = Mapping[str, tuple[float, int]]
"""By prompt: the sum of its shown raw clip values, and how many they are."""


class FinishedRun(NamedTuple):
    """A table of scores and what it was computed from, by row."""

    table: ScoresTable
    prompts: list[Prompt]
    manifests: dict[str, list[Clip]]
    """Of a row of imported scores, which has no clips, empty."""
    filtered: dict[str, FilteredSet]
    results: dict[str, dict[str, DimensionResult]]
    imported: dict[str, ImportedSource]
    """Where the scores of rows without clips are from."""
    second: list[DimensionResult]
    """Second scorings of the clips, of all rows."""


def read_finished_run(folder: Path, scores: Path | None = None) -> FinishedRun:
    """Read and verify the records of a results folder. scores: its table, by default aggregate/scores.json.

    Raises FileNotFoundError or ValueError naming the first file that is missing, was changed since, or does
    not fit the others.
    """
    scores = scores or folder / "aggregate/scores.json"
    table = read_json(ScoresTable, _there(scores))
    known = metrics(table.benchmark, table.custom)

    def verified(path: Path, sha256: Sha256) -> Path:
        if file_sha256(_there(path)) != sha256:
            raise ValueError(
                f"{path} is not the file that {scores} was computed from: it was changed, replaced or made "
                f"again since; {AGAIN}, or put the file back."
            )
        return path

    inputs = table.inputs
    prompts = read_jsonl(Prompt, verified(folder / "prompts/prompts.jsonl", inputs.prompts))
    filtered = {
        row: read_json(FilteredSet, verified(folder / f"filter/{row}.json", sha256))
        for row, sha256 in inputs.filtered.items()
    }
    results: dict[str, dict[str, DimensionResult]] = {row.row: {} for row in table.rows}
    for row, hashes in inputs.results.items():
        for name, sha256 in hashes.items():
            path = folder / f"scores/{row}/{name}.result.json"
            result = read_json(DimensionResult, _there(path))
            said, expected = (result.suite, result.row, result.dimension), (table.suite, row, name)
            if said != expected or row not in results or name not in known:
                raise ValueError(
                    f"{path} is of suite {said[0]}, row {said[1]}, dimension {said[2]}, expected "
                    f"{', '.join(expected)} of the table; put each file back into its own folder."
                )
            verified(path, sha256)
            check_result(result, prompts, filtered.get(row), known[name])
            results[row][name] = result
    manifests: dict[str, list[Clip]] = {}
    imported: dict[str, ImportedSource] = {}
    sha256s = {}
    without_clips = {row.row for row in table.rows if row.kind == "results"}
    for row, found in results.items():
        if found and row in without_clips:
            path = _there(folder / f"imported/{row}.json")
            manifests[row], imported[row] = [], read_json(ImportedSource, path)
            _check_source(imported[row], row, table, path)
        elif found:
            path = _there(folder / f"clips/{row}/manifest.jsonl")
            manifests[row] = read_jsonl(Clip, path)
        if found:
            sha256s[row] = file_sha256(path)
    check_origins(prompts, filtered, results, inputs, sha256s)
    second = [
        read_json(DimensionResult, verified(folder / second_path(row, scoring, name), sha256))
        for row, scorings in inputs.second.items()
        for scoring, found in scorings.items()
        for name, sha256 in found.items()
    ]
    check_second(second, prompts, filtered, known, inputs, sha256s)
    check_table(table, results)
    return FinishedRun(table, prompts, manifests, filtered, results, imported, second)


def _check_source(source: ImportedSource, row: str, table: ScoresTable, path: Path) -> None:
    """Raises ValueError if a source is of another row or benchmark than the one whose scores it is of."""
    if (source.row, source.benchmark) != (row, table.benchmark):
        raise ValueError(
            f"{path} is of row {source.row} and the benchmark {source.benchmark}, expected {row} and "
            f"{table.benchmark} of the table; import the row again."
        )


def second_path(row: str, second: SecondScoring | None, dimension: str) -> str:
    """Where a second scoring lies in a results folder."""
    return f"scores/{row}/second/{second}/{dimension}.result.json"


def official_path(result: Path) -> Path:
    """VBench's own JSON beside a result."""
    return result.with_name(result.name.replace(".result.json", ".json"))


def check_second(
    second: Sequence[DimensionResult],
    prompts: Sequence[Prompt],
    filtered: Mapping[str, FilteredSet],
    known: Mapping[str, Metric],
    inputs: TableInputs,
    manifests: Mapping[str, Sha256],
) -> None:
    """Verify that second scorings are of the clips that they should be of, and of the run's own files.

    Arguments as of `check_origins`; known: every metric by name. Raises ValueError naming row and dimension.
    """
    for result in second:
        where = f"The {result.dimension} result of row {result.row}, scored once more ({result.second})"
        if result.dimension not in known or result.row not in filtered or result.second is None:
            raise ValueError(f"{where}, is not part of this run; take it out of the inputs.")
        seen = seen_prompts(result.second, prompts)
        kept = filtered[result.row]
        check_result(result, seen, kept, known[result.dimension])
        files = Inputs(
            prompts=inputs.prompts,
            manifest=manifests.get(result.row, kept.inputs.manifest),
            filtered=inputs.filtered[result.row],
        )
        compare_inputs(where, result.inputs, files, "score")


def check_origins(
    prompts: Sequence[Prompt],
    filtered: Mapping[str, FilteredSet],
    results: Results,
    inputs: TableInputs,
    manifests: Mapping[str, Sha256],
) -> None:
    """Verify that all of a row was computed from one manifest, and from these prompts and static filters.

    filtered: by row; inputs: sha256 of all these files; manifests: of the rows' manifests, where they are
    known. Raises ValueError naming row, dimension and file.
    """
    if lost := [row for row, found in results.items() if found and row not in filtered]:
        raise ValueError(f"Row {lost[0]} has results, but nothing that says what was filtered; filter again.")
    for row, kept in filtered.items():
        files = Inputs(prompts=inputs.prompts, manifest=manifests.get(row, kept.inputs.manifest))
        check_filtered(kept, prompts, files)
        files = files.model_copy(update={"filtered": inputs.filtered[row]})
        for dimension, result in results.get(row, {}).items():
            compare_inputs(f"The {dimension} result of row {row}", result.inputs, files, "score")


def check_table(table: ScoresTable, results: Results) -> None:
    """Compute again what a table says of means, counts, totals, differences and ranks.

    results: those that it was computed from, checked. Raises ValueError naming row, metric, what was found
    and what was expected.
    """
    known = metrics(table.benchmark, table.custom)
    samples = {row.row: row.samples for row in table.rows}

    @cache
    def sums_of(row: str, first: int | None) -> dict[str, PromptSums]:
        scored = {name: result for name, result in results[row].items() if result.clips}
        return {name: _prompt_sums(found, known[name]) for name, found in on_samples(scored, first).items()}

    @cache
    def totals_of(row: str, first: int | None) -> dict[str, float]:
        means = {name: known[name].normalise(_mean(found)) for name, found in sums_of(row, first).items()}
        found = totals({name: np.asarray(mean) for name, mean in means.items()})._asdict()
        return {name: float(value) for name, value in found.items()}

    for row in table.rows:
        sums = sums_of(row.row, None)
        if row.dimensions.keys() != sums.keys():
            _refuse(row.row, "dimensions", sorted(row.dimensions), sorted(sums))
        for name, cell in row.dimensions.items():
            raw, result = _mean(sums[name]), results[row.row][name]
            _same(row.row, name, cell.raw.mean, raw)
            _same(row.row, name, cell.normalised.mean, known[name].normalise(raw))
            counts = (cell.kind, cell.prompts, cell.clips, cell.left_out)
            expected = (result.kind, len(sums[name]), len(result.clips), len(result.left_out))
            if counts != expected:
                _refuse(row.row, name, counts, expected)
        for name, total in row.totals.items():
            _same(row.row, name, total.mean, totals_of(row.row, None)[name])
    for pair in table.pairs:
        where, metric, first = f"{pair.a} minus {pair.b}", pair.metric, samples[pair.b]
        if metric in TOTALS:
            difference = totals_of(pair.a, first)[metric] - totals_of(pair.b, first)[metric]
        else:
            a, b = sums_of(pair.a, first)[metric], sums_of(pair.b, first)[metric]
            common = a.keys() & b.keys()
            one, other = (_mean({p: found[p] for p in found if p in common}) for found in (a, b))
            difference = known[metric].scale * (one - other)
            if pair.prompts != len(common):
                _refuse(where, metric, pair.prompts, len(common))
        _same(where, metric, pair.difference.mean, difference)
        _same(where, metric, pair.corrected.mean, difference)
    ranked = row_groups(table.rows)[0]
    ranks = ranks_by_row([pair for pair in table.pairs if {pair.a, pair.b} <= {*ranked}], ranked)
    for row in table.rows:
        if row.ranks != ranks.get(row.row, {}):
            _refuse(row.row, "ranks", _said(row.ranks), _said(ranks.get(row.row, {})))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing, which every finished run has; name results/<suite>, or results/<suite>/"
            "subsets/<id>, and build its report first."
        )
    return path


def _prompt_sums(result: DimensionResult, metric: Metric) -> PromptSums:
    values: dict[str, list[float]] = {}
    for clip in result.clips:
        values.setdefault(clip.prompt_id, []).append(metric.factor * clip.value)
    return {prompt: (math.fsum(found), len(found)) for prompt, found in values.items()}


def _mean(sums: PromptSums) -> float:
    return math.fsum(total for total, _ in sums.values()) / sum(count for _, count in sums.values())


def _same(where: str, metric: str, found: float, expected: float) -> None:
    if not math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9):
        _refuse(where, metric, found, expected)


def _refuse(where: str, what: str, found: object, expected: object) -> None:
    raise ValueError(
        f"The table of scores says of {where}, {what}: {found}; the scores of the clips give {expected}: it "
        f"was edited or damaged; {AGAIN}."
    )


def _said(ranks: Mapping[str, object]) -> dict[str, str]:
    return {metric: str(found) for metric, found in ranks.items()}
