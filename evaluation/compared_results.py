"""Rows from results alone as one table: what all of them have, aggregated as a run's own rows are.

Prompts are told apart by their text, or by the id that records of ours have. A run.json of ours states its
protocol; files of VBench do not, so that there it is the reader's to know.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from evaluation.aggregate import AggregateSettings, RowLabel, aggregate
from evaluation.dimensions import NAMES
from evaluation.files import one_line
from evaluation.finished_run import FinishedRun
from evaluation.imported_results import (
    ForeignResults,
    PromptFinder,
    filtered_of,
    imported_results,
    match_results,
    named_source,
    require_one_length,
    results_part,
)
from evaluation.protocol import agreed_protocol
from evaluation.records import (
    DimensionResult,
    FilteredSet,
    Inputs,
    Prompt,
    Protocol,
    Sha256,
    TableInputs,
)

DRAWS, SEED = 20_000, 0
"""Of the bootstrap: as the vbench suite's."""
SUITE = "compared"
"""What such a table calls its suite."""
FILTERED = "temporal_flickering"
"""The dimension whose prompts VBench's static filter looks at."""


class CommonPrompts(NamedTuple):
    """What several rows have scores of."""

    prompts: list[Prompt]
    """With the dimensions and samples that all rows have."""
    dimensions: tuple[str, ...]
    whole: bool
    """Whether this is all that any row has scores of."""
    passed: tuple[int, ...]
    """By row: scores of other prompts and samples, which are left out."""
    protocol: Protocol
    """What any row states of it; what nobody states is taken to be the same."""


def common_prompts(rows: Sequence[ForeignResults]) -> CommonPrompts:
    """The prompts that all rows have scores of, in the order of the first list that is known.

    A run.json knows its prompts; of other files they are the texts in the names of clips. Raises ValueError
    if rows are of two benchmarks, protocols or lengths, or share no dimension or no prompt.
    """
    first = rows[0]
    protocol = agreed_protocol({named_source(row): row.protocol for row in rows})
    require_one_length({named_source(row): row.seconds for row in rows})
    for other in rows[1:]:
        if other.benchmark != first.benchmark:
            raise ValueError(
                f"{first.path} is scored by {first.benchmark}, {other.path} by {other.benchmark}; their "
                "numbers cannot be compared."
            )
    names = [name for name in NAMES if all(name in row.dimensions for row in rows)]
    if not names:
        held = ", ".join(f"{row.path} has {', '.join(row.dimensions)}" for row in rows)
        raise ValueError(f"{held}: no dimension is in all.")
    given = next((row.prompts for row in rows if row.prompts), ())
    known = given or _named_prompts(first)
    finder = PromptFinder(known)
    seen = [_samples_seen(row, names, finder) for row in rows]
    coloured = min(max((s for at in each if at[1] == "color" for s in each[at]), default=0) for each in seen)
    kept = max((len(found) for each in seen for at, found in each.items() if at[1] == FILTERED), default=1)
    prompts = []
    for prompt in known:
        shared = [n for n in prompt.dimensions if n in names and all((prompt.id, n) in each for each in seen)]
        made = prompt.model_copy(update={"dimensions": tuple(shared)})
        if made.keep is None:
            counts = [_without_gap(each[prompt.id, n]) for each in seen for n in shared if n != "color"]
            samples = min(prompt.samples, *counts) if counts else coloured + 1
            made = made.model_copy(update={"samples": samples})
        elif not given:  # how many a filter of somebody's kept, and of how many, only the names say
            last = max((sample for each in seen for n in shared for sample in each[prompt.id, n]), default=0)
            made = made.model_copy(update={"samples": max(kept, last + 1), "keep": kept})
        if shared and made.samples:
            prompts.append(made)
    served = {name for prompt in prompts for name in prompt.dimensions}
    if lost := next((name for name in names if name not in served), None):
        raise ValueError(
            f"{' and '.join(row.path for row in rows)} share no prompt of {lost} (the first has "
            f"{first.dimensions[lost].scores[0].text[:80]!r}); compare results of one list of prompts."
        )
    passed = tuple(results_part(row, prompts)[1] for row in rows)
    whole = not any(passed) and len(prompts) == len(known)
    return CommonPrompts(prompts, tuple(names), whole, passed, protocol)


def _named_prompts(found: ForeignResults) -> tuple[Prompt, ...]:
    """The prompts in the names of clips, in the order of VBench's dimensions."""
    dimensions: dict[str, list[str]] = {}
    samples: dict[str, int] = {}
    for name, dimension in found.dimensions.items():
        for score in dimension.scores:
            text = unicodedata.normalize("NFC", score.text)
            served = dimensions.setdefault(text, [])
            served += [name] if name not in served else []
            samples[text] = max(samples.get(text, 0), score.sample + 1)
    return tuple(
        Prompt(
            id=f"p{number:04d}",
            prompt=text,
            extended=text,
            dimensions=tuple(served),
            samples=samples[text],
            keep=samples[text] if FILTERED in served else None,
            facts={},
        )
        for number, (text, served) in enumerate(dimensions.items())
    )


SamplesSeen = Mapping[tuple[str, str], set[int]]
"""Samples that a row has scores of, by prompt id and dimension."""


def _samples_seen(row: ForeignResults, names: Sequence[str], finder: PromptFinder) -> SamplesSeen:
    found: dict[tuple[str, str], set[int]] = {}
    for name in names:
        for score in row.dimensions[name].scores:
            prompt = finder.find(score)
            if prompt is not None and name in prompt.dimensions:
                found.setdefault((prompt.id, name), set()).add(score.sample)
    return found


def _without_gap(samples: set[int]) -> int:
    """How many samples there are from 0 on."""
    return next(n for n in range(len(samples) + 1) if n not in samples)


NamedRows = Mapping[str, tuple[str, ForeignResults]]
"""Label and results by the row's name."""


def named_rows(found: Sequence[ForeignResults]) -> NamedRows:
    """Label and results by the name of a row: the file's, with what tells it from others of the same name."""
    titles = [_title(Path(one.path)) if one.row is None else one.label or one.row for one in found]
    if len(set(titles)) < len(titles):
        titles = [str(Path(one.path).resolve()) + (f":{one.row}" if one.row else "") for one in found]
    doubled = Counter(titles)
    titles = [f"{t}, {n}" if doubled[t] > 1 else t for n, t in enumerate(titles, 1)]
    names = [re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:50] or "row" for title in titles]
    if len(set(names)) < len(names):
        names = [f"row_{number}" for number in range(1, len(names) + 1)]
    return dict(zip(names, zip(titles, found, strict=True), strict=True))


def _title(path: Path) -> str:
    name = path.resolve().name if path.is_dir() else path.stem
    return one_line(name)[:100] or "row"


class ComparedResults(NamedTuple):
    """Rows from results alone, as a finished run that lies nowhere."""

    run: FinishedRun
    common: CommonPrompts


def compare_results(rows: NamedRows, draws: int = DRAWS) -> ComparedResults:
    """The table of rows from results alone: scores with intervals, and paired tests on what all have.

    draws: of the bootstrap. Totals are there where all sixteen
    dimensions are, and no row has scores of anything else. Raises ValueError as `common_prompts` and
    `match_results` do.
    """
    common = common_prompts([found for _, found in rows.values()])
    prompts, names = common.prompts, common.dimensions
    listed = _sha256_of(prompts)
    filters: dict[str, FilteredSet] = {}
    results: dict[str, dict[str, DimensionResult]] = {}
    for row, (_, found) in rows.items():
        part, _ = results_part(found, prompts)
        matched = match_results(part, prompts, names)
        inputs = Inputs(prompts=listed, manifest=found.sha256)
        filters[row] = filtered_of(row, matched, prompts, inputs)
        inputs = inputs.model_copy(update={"filtered": _sha256_of([filters[row]])})
        results[row] = imported_results(SUITE, row, part, matched, inputs, "another scorer")
    settings = AggregateSettings(
        bounds=next(iter(rows.values()))[1].benchmark,
        dimensions=names,
        draws=draws,
        seed=SEED,
        rows={
            row: RowLabel(label=label, kind="results", protocol=common.protocol)
            for row, (label, _) in rows.items()
        },
        totals=common.whole,
    )
    hashes = TableInputs(
        prompts=listed,
        filtered={row: _sha256_of([found]) for row, found in filters.items()},
        results={row: {n: _sha256_of([r]) for n, r in found.items()} for row, found in results.items()},
    )
    every = [result for found in results.values() for result in found.values()]
    table = aggregate(SUITE, prompts, every, list(filters.values()), settings, hashes)
    run = FinishedRun(table, prompts, {row: [] for row in rows}, filters, results, imported={}, second=[])
    return ComparedResults(run, common)


def _sha256_of(records: Iterable[BaseModel]) -> Sha256:
    text = "".join(record.model_dump_json() + "\n" for record in records)
    return hashlib.sha256(text.encode()).hexdigest()
