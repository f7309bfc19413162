"""Notice results that are gone while what was made from them is there, in a way Snakemake acts upon.

Snakemake makes what a job lacks only if that job has to run, so that a report which is there hides that the
scores behind it were deleted. What a file was made from is in Snakemake's own record of it. If some of that
is gone, the job that made the file gets a note, <job>.gone, as one more input. The note is new, so the job
runs again, and what it lacks is made first. Where the record is gone too, reports/table.html stands for a run
only if that has made the very page. Deleted clips are another matter: missing_clips.py.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from evaluation.files import load_json, utf8_text, write_text
from reports.clips_beside import beside_clips
from workflow.planning.missing_clips import clip_warnings, some_names
from workflow.planning.paths import Folders
from workflow.planning.row_plan import Baselines
from workflow.planning.suite import Suite

METADATA = Path(".snakemake/metadata")
"""Where Snakemake keeps what it knows of each output, seen from the working directory."""
PAGE = Path("reports/table.html")
"""The last report that was made, of whatever suite."""


def output_records(metadata: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """Outputs, below `prefix`, that Snakemake ever made, each with the file of its record."""
    for path in sorted(metadata.rglob("*")) if metadata.is_dir() else ():
        if path.is_file():
            name = "".join(part.removeprefix("@") for part in path.relative_to(metadata).parts)
            packed = name.encode() + b"=" * (-len(name) % 4)
            output = base64.urlsafe_b64decode(packed).decode(errors="replace")
            if output.startswith(prefix):
                yield output, path


def gone_note(job: str) -> list[str]:
    """The note that something a job was made from is gone, if ever it was. job: as in `watched_jobs`."""
    note = Path(f"{job}.gone")
    return [str(note)] if note.is_file() else []


def watched_jobs(folders: Folders, rows: Sequence[str]) -> dict[str, str]:
    """A file made by each job whose inputs are watched, by what the job's note is called."""
    checks = {f"{folders.results}/clips/{row}" for row in rows}
    return {
        **{f"{folder}/check": f"{folder}/manifest.jsonl" for folder in sorted(checks)},
        f"{folders.run}/aggregate": f"{folders.run}/aggregate/scores.json",
        f"{folders.run}/report": str(PAGE),
    }


def missing_inputs(record: Path, suite: str, also: Mapping[str, str]) -> list[str]:
    """Files of the suite's folder that an output was made from and that are gone.

    also: files that were written beside the output, by an input that says that they were.
    """
    made_from = load_json(record.read_bytes(), str(record)).get("input") or []
    # Notes and votes are not made by any job: one that is gone is no longer an input, which is all.
    ours = [name for name in made_from if name.startswith(f"{suite}/")]
    inside = [n for n in ours if not n.endswith(".gone") and Path(n).parent.name != "votes"]
    beside = [name for sign, name in also.items() if sign in inside]
    return [name for name in [*inside, *beside] if not Path(name).exists()]


def missing_warnings(folders: Folders, suite: Suite, baselines: Baselines) -> Iterator[str]:
    """Note results and clips that are gone, and external inputs that changed; a warning for each job that
    has any.
    """
    yield from gone_warnings(folders, suite.rows)
    yield from clip_warnings(folders, suite, baselines)


def own_page_lacks(run: Path, page: Path = PAGE) -> str:
    """Why the page is not the report of the run in this folder; nothing if it is."""
    report = run / "report.html"
    if missing := [str(path) for path in (run / "aggregate/scores.json", report) if not path.is_file()]:
        return f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not there"
    texts = [utf8_text(path.read_bytes(), str(path)) for path in (page, report)]
    try:
        same = beside_clips(texts[0]) == texts[1]
    except AssertionError:  # it is no page of ours
        same = False
    return "" if same else f"{report} is another page"


def gone_warnings(folders: Folders, rows: Sequence[str], metadata: Path = METADATA) -> Iterator[str]:
    """Note what is gone, job by job; a warning for each that has anything."""
    records = dict(output_records(metadata))
    report = {f"{folders.run}/aggregate/scores.json": f"{folders.run}/report.html"}
    for job, output in watched_jobs(folders, rows).items():
        if output not in records:
            if output == str(PAGE) and PAGE.is_file() and (why := own_page_lacks(Path(folders.run))):
                _write_note(job, why)
                yield f"{output} is there, but is not this run's: {why}. It will be made again."
            continue
        missing = missing_inputs(records[output], folders.suite, report if job.endswith("/report") else {})
        if missing:
            _write_note(job, " ".join(missing))
            count = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
            yield f"Behind {output} {count} gone ({some_names(missing)}); what is missing will be made again."


def _write_note(job: str, why: str) -> None:
    """The time makes the note another one each time, also where a whole folder was deleted with it."""
    write_text(Path(f"{job}.gone"), f"{datetime.now(UTC).isoformat()} {why}\n")
