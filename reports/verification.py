"""Whether all that a finished run publishes follows from its clips' scores: computed again and compared.

Read in this order, and the first difference is the error: files against hashes, clips against prompts and
static filter, VBench's own JSON against the records, every mean, interval, p-value, rank and total, what
frames and seeds show, run.json, the tables beside the report, and the page itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from evaluation.code_state import code_state
from evaluation.files import file_sha256, load_json, open_zip, utf8_text
from evaluation.finished_run import FinishedRun, official_path, read_finished_run, second_path
from evaluation.recompute import check_recomputed, first_difference
from evaluation.records import DimensionResult, read_json
from reports.beside import exports_of
from reports.clips_beside import beside_clips
from reports.page import render_page
from reports.run import Run, read_run

RECOMPUTED = (
    "table", "prompts", "filters", "noises", "costs", "scores", "curves", "heldout", "stages", "variance",
    "chunks", "long", "protocol_moves", "speed", "starts", "replay", "votes",
)  # fmt: skip
"""Keys of run.json that follow from the other files. The rest is what the machine said of itself (provenance,
disk), what a person chose (settings), and small copies of clips."""


class VerifiedFolder(NamedTuple):
    """What was found to agree."""

    run: FinishedRun
    record: Run
    other_code: tuple[str, ...]
    """Texts that this version of the code writes otherwise; empty if the run was reported by this commit."""


def verify_folder(folder: Path, root: Path) -> VerifiedFolder:
    """Verify a results folder with or without clips. root: the repository.

    Raises ValueError or FileNotFoundError naming the first thing that is not there or does not follow.
    """
    run = read_finished_run(folder)
    check_official_files(folder, run)
    check_recomputed(folder, run)
    record = read_json(Run, folder / "run.json")
    votes = sorted((folder / "votes").glob("*.json"))
    again = read_run(folder / "aggregate/scores.json", folder, record.settings, root, votes=votes)
    for name in RECOMPUTED:
        found, made = ({name: each.model_dump(include={name})[name]} for each in (record, again))
        if difference := first_difference(found, made):
            raise ValueError(f"run.json says {difference}, computed again from the files beside it.")
    if record.provenance.get("scores_sha256") != file_sha256(folder / "aggregate/scores.json"):
        raise ValueError("run.json is of another aggregate/scores.json than the one beside it.")
    return VerifiedFolder(run, record, check_texts(folder, record, same_code=same_code(record, root)))


def same_code(record: Run, root: Path) -> bool:
    """Whether the checkout at root is, unchanged, the one that made the report."""
    here, made = code_state(root), record.provenance
    return (here.commit, here.dirty) == (made.get("commit"), made.get("dirty")) and here.dirty is False


def check_texts(folder: Path, record: Run, *, same_code: bool) -> tuple[str, ...]:
    """Write the files beside the report and the page again, from run.json, and compare.

    Returns those that differ, which only other code explains. Raises ValueError naming the first one if the
    code is the same, and where a table of numbers (CSV) differs.
    """
    texts = {export.name: export.text for export in exports_of(record) if export.text is not None}
    differing = []
    texts |= {"aggregate/scores.csv": texts["table.csv"], "report.html": _page}
    for name, text in texts.items():
        path = folder / name
        if utf8_text(path.read_bytes(), str(path)) != text(record):
            if same_code or name.endswith(".csv"):
                raise ValueError(
                    f"{name} is not what run.json says: it was edited, or other code wrote it (commit "
                    f"{record.provenance.get('commit')})."
                )
            differing.append(name)
    return tuple(differing)


def _page(record: Run) -> str:
    return beside_clips(render_page(record))


def check_official_files(folder: Path, run: FinishedRun) -> None:
    """Compare VBench's own JSON of every result with its record, and the leaderboard's zips with it."""
    files: dict[str, dict[str, bytes]] = {}
    for row, found in run.results.items():
        for name, result in found.items():
            if result.official_sha256 is not None:
                files.setdefault(row, {})[name] = _official_file(folder / f"scores/{row}/{name}.json", result)
    for result in run.second:
        if result.official_sha256 is not None:
            path = folder / second_path(result.row, result.second, result.dimension)
            _official_file(official_path(path), result)
    for path in sorted((folder / "leaderboard").glob("*.zip")):
        _check_leaderboard(path, files.get(path.stem, {}))


def _official_file(path: Path, result: DimensionResult) -> bytes:
    where = f"scores/{result.row}/{f'second/{result.second}/' if result.second else ''}{path.name}"
    if not path.is_file() or file_sha256(path) != result.official_sha256:
        raise ValueError(f"{where} is not the file of the record beside it, {path.stem}.result.json.")
    content = path.read_bytes()
    match load_json(content, where):
        case dict() as read if isinstance(entry := read.get(result.dimension), list) and entry:
            said = entry[0]
        case _:
            said = None
    if not isinstance(said, int | float) or abs(said - result.mean) > 1e-6 * max(1.0, abs(result.mean)):
        raise ValueError(f"{where} says the score {said}, its clips give {result.mean}.")
    return content


def _check_leaderboard(path: Path, files: Mapping[str, bytes]) -> None:
    where = f"leaderboard/{path.name}"
    with open_zip(path, where) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    if held != {f"{name}_eval_results.json": content for name, content in files.items()}:
        raise ValueError(f"{where} does not hold the files of scores/{path.stem}.")
