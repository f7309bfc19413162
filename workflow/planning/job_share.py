"""Which share of a running job is done, from what it writes as it goes on: a line an iteration, or a clip."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from evaluation.prompts import count_prompts
from evaluation.records import Prompt
from evaluation.selection import first_samples
from workflow.planning.paths import Folders
from workflow.planning.suite import Suite

JobShare = Callable[[], float | None]
"""What is done of one job, 0 to 1; None where nothing tells."""


def job_share(
    suite: Suite, folders: Folders, prompts: Sequence[Prompt], rule: str, wildcards: Mapping[str, str]
) -> JobShare:
    """How to see what is done of a job. prompts: of this run; wildcards: of the job's rule."""
    row = wildcards.get("row", "")
    if rule == "train":
        path = Path(folders.suite, "train", row, "metrics.jsonl")
        return partial(_lines_of, path, suite.recipe_settings(row, "").iterations)
    if rule in ("sample", "render", "control_clips") and "shard" in wildcards:
        clips = count_prompts(first_samples(prompts, suite.row_samples.get(row))).clips
        journal = Path(folders.results, "clips", row, "journal", f"{wildcards['shard']}.jsonl")
        return partial(_lines_of, journal, clips / suite.sample.shards)
    return lambda: None


def _lines_of(path: Path, whole: float) -> float:
    if not path.is_file():
        return 0.0
    with path.open("rb") as stream:
        found = sum(block.count(b"\n") for block in iter(partial(stream.read, 1 << 20), b""))
    return min(found / max(whole, 1.0), 1.0)
