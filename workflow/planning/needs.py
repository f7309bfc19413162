"""What a run needs, said before it starts: files, GPU time and disk, and the cheaper way first."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.prompts import choose
from evaluation.records import Prompt
from reports.cost import amount
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.cost import estimated_cost
from workflow.planning.resources import Resource, is_whole, needed_resources, read_lock, scorer_resources
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite
from workflow.planning.suite_file import RELEASED, load_suite

BLOCKS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (75, ("temporal_flickering",)),
    (82, ("multiple_objects",)),
    (100, ("human_action",)),
    (72, ("subject_consistency", "dynamic_degree", "motion_smoothness")),
    (79, ("object_class",)),
    (85, ("color",)),
    (90, ("appearance_style",)),
    (100, ("temporal_style",)),
    (93, ("overall_consistency", "aesthetic_quality", "imaging_quality")),
    (86, ("scene", "background_consistency")),
    (84, ("spatial_relationship",)),
)
"""VBench's list by blocks of lines with the same dimensions, in its order
(evaluation/vbench/README.md#prompts-and-clips).
"""
REPEATS = {746: 503, 748: 495}
"""Lines whose short prompt is that of an earlier line: the later is rendered for both, so 946 lines are 944
prompts.
"""
STATE_COPIES = 7
"""Copies of the network in a checkpoint of RAVEN's training: student and EMA, fake score, and Adam's two
moments of student and fake score.
"""


def standard_prompts(samples: int, static_samples: int, static_keep: int) -> list[Prompt]:
    """VBench's 944 prompts without their texts: dimensions, samples and repeated lines are the real ones."""
    block_of = [dimensions for count, dimensions in BLOCKS for _ in range(count)]
    made = []
    for line, dimensions in enumerate(block_of):
        if line in REPEATS.values():
            continue
        earlier = REPEATS.get(line)
        filtered = "temporal_flickering" in dimensions
        text = f"prompt {line} of the block of {dimensions[0].replace('_', ' ')}"
        made.append(
            Prompt(
                id=f"l{line:03d}",
                prompt=text,
                extended=f"{text}, told at greater length",
                dimensions=dimensions if earlier is None else (*block_of[earlier], *dimensions),
                samples=static_samples if filtered else samples,
                keep=static_keep if filtered else None,
                facts={} if earlier is None else {"lines": [earlier, line]},
            )
        )
    return made


def unfetched_lines(count: int, samples: int, dimensions: Sequence[str]) -> list[Prompt]:
    """What stands for the first `count` lines of a list that is not here, each scored on all dimensions."""
    texts = [f"line {line} of the list" for line in range(count)]
    return [
        Prompt(id=f"l{i:04d}", prompt=text, extended=text, dimensions=tuple(dimensions), samples=samples,
               keep=None, facts={})
        for i, text in enumerate(texts)
    ]  # fmt: skip


def counted_prompts(suite: Suite) -> list[Prompt] | None:
    """What stands for a suite's prompts in an estimate while VBench's files, or the first lines of a list,
    are not here; None for other lists, of which nothing is known then.
    """
    asked = suite.prompts
    if asked.list is not None and asked.per_dimension is not None and asked.samples is not None:
        return unfetched_lines(asked.per_dimension, asked.samples, suite.dimensions)
    if suite.benchmark not in OFFICIAL_BENCHMARKS or asked.list is not None:
        return None
    given = asked.samples, asked.static_samples, asked.static_keep
    listed = standard_prompts(*(count or 0 for count in given))  # PromptSettings refuses a list without them
    return choose(listed, suite.dimensions, asked.per_dimension)


class Files(NamedTuple):
    """Fetched files of a run, in MB."""

    needed: float
    missing: float


def files_of(root: Path, suite: Suite, *, scorer: bool = True) -> Files:
    """How much a suite fetches, with what scores it or without."""
    entries = {entry.path: entry for entry in needed_resources(root, suite)}
    if scorer:
        entries |= {entry.path: entry for entry in scorer_resources(root, suite)}
    lock = read_lock(root / FETCHED_FOLDER)

    def size(of: Sequence[Resource]) -> float:
        return sum(entry.size_mb for entry in of)

    absent = [e for e in entries.values() if not is_whole(root / FETCHED_FOLDER, e, lock)]
    return Files(size(list(entries.values())), size(absent))


def released_alternative(
    root: Path, files: Sequence[str | Path], replaced: Mapping[str, Any]
) -> Suite | None:
    """The same suite with published weights in place of training; None if it has none."""
    try:
        return load_suite(root, files, {**replaced, "weights": RELEASED})
    except ValueError:
        return None


def cheaper_way(
    root: Path, suite: Suite, released: Suite | None, prompts: Sequence[Prompt] | None
) -> list[str]:
    """One sentence if published weights can stand in for training: what each way needs."""
    if not suite.train or released is None or not needed_resources(root, suite):
        return []
    told = []
    for way in (released, suite):
        gigabytes = f"{files_of(root, way).needed / 1000:.0f} GB of files"
        cost = estimated_cost(way, prompts) if prompts else None
        told.append(gigabytes if cost is None else f"{gigabytes} and about {amount(cost.total_s, cost.unit)}")
    return [
        f"Cheaper first: published weights train nothing and need {told[0]} (make fetch "
        f"SUITE={suite.suite} RELEASED=1, then --config weights=released). Training "
        f"{' and '.join(suite.train)} as well needs {told[1]}."
    ]


def disk_line(root: Path, suite: Suite, clips_mb: float | None, *, scorer: bool = True) -> list[str]:
    """One sentence on the disk of a suite that fetches files; nothing for others."""
    files = files_of(root, suite, scorer=scorer)
    if not files.needed:
        return []
    free = shutil.disk_usage(root).free / 1000**2
    sizes = {entry.path: entry.size_mb for entry in needed_resources(root, suite)}
    checkpoints = sum(
        STATE_COPIES * plan.keep * sizes.get(plan.init.removeprefix(FETCHED_FOLDER), 0.0)
        for plan in suite.train.values()
        if plan.recipe == "raven"
    )
    parts = [f"{files.needed / 1000:.1f} GB of fetched files ({files.missing / 1000:.1f} still to come)"]
    parts += [f"{checkpoints / 1000:.0f} GB of checkpoints"] if checkpoints else []
    parts += [f"{clips_mb / 1000:.0f} GB of clips"] if clips_mb is not None else []
    short = files.missing + checkpoints + (clips_mb or 0.0) - free
    lack = f", {short / 1000:.0f} GB too little from nothing" if short > 0 else ""
    return [f"Disk: about {', '.join(parts)}; {free / 1000:.1f} GB are free here{lack}."]
