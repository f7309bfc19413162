"""Time the official scorer and ours: seconds a clip and dimension in one run, their ratio, the largest
difference of a clip's value.

Random weights (tests/vbench/random_cache.py) and made-up clips, or --weights and --videos. Each measurement
is a process of VBench's environment of its own (evaluation/vbench/worker/bench_worker.py), so that nothing is
shared; loading is not counted. Random RAFT sees motion anywhere, so the share of static clips is set by
moving the limits of the flow, not by the clips: the flow itself is computed as ever.
"""

import argparse
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.clips import write_clip
from evaluation.command import command, run
from evaluation.files import load_json, write_text
from evaluation.vbench.leaderboard import ROWS
from evaluation.vbench.plan import SAMPLES_SEEN
from evaluation.vbench.scorers import OFFICIAL_SCORERS
from evaluation.vbench.weights import CHECKPOINTS

log = logging.getLogger("bench_score")

MADE_UP_FACTS: dict[str, Any] = {
    "object_class": {"object": "bird"},
    "multiple_objects": {"object": "bird and cat"},
    "color": {"color": "red"},
    "appearance_style": {"appearance_style": "Van Gogh style"},
    "scene": {"scene": {"scene": "alley"}},
    "spatial_relationship": {
        "spatial_relationship": {"object_a": "bird", "object_b": "cat", "relationship": "on the left of"}
    },
}
"""Ground truth of the made-up prompts."""

STATIC_FILTER = "static_filter"
PROTOCOL_CLIPS = {STATIC_FILTER: 1875, **ROWS}
"""Clips of one model that the whole protocol looks at."""
STATIC_SHARES = ("0 % static", "50 % static", "100 % static")
STEERED_CASES: dict[str, tuple[str | None, ...]] = {
    STATIC_FILTER: STATIC_SHARES,
    "dynamic_degree": STATIC_SHARES,
    "object_class": ("texts of 2 words",),
    "multiple_objects": ("texts of 2 words",),
    "color": ("texts of 5 words",),
    "spatial_relationship": ("texts of 2 words",),
}
"""What is done to the package before a measurement, for both backends alike: keys of bench_worker.STEERED."""
MIX = "50 % static"
"""Which of several cases of one dimension the totals take, where none is named."""


@dataclass(frozen=True, slots=True)
class Case:
    """What one line of the table measures."""

    dimension: str
    case: str | None

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.dimension}, {self.case}" if self.case else self.dimension

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Networks that it needs, keys of CHECKPOINTS."""
        return ("raft",) if self.dimension == STATIC_FILTER else OFFICIAL_SCORERS[self.dimension].checkpoints


CASES = [
    Case(dimension, case) for dimension in PROTOCOL_CLIPS for case in STEERED_CASES.get(dimension, (None,))
]


@dataclass(frozen=True, slots=True)
class CaseTiming:
    """One line of the table."""

    dimension: str
    case: str | None
    official_s: float
    """Seconds a clip."""
    fast_s: float
    difference: float
    """The largest relative one of a clip's value."""


def make_videos(folder: Path, size: tuple[int, int], frames: int, clips: int) -> None:
    """Textured images that drift, named as the package wants them."""
    width, height = size
    for number in range(clips):
        draw = np.random.default_rng(number)
        coarse = draw.uniform(0, 256, (height // 8 + 3, (width + 2 * frames) // 8 + 3, 3)).astype(np.float32)
        image = coarse.repeat(8, axis=0).repeat(8, axis=1)
        for axis in (0, 1):
            image = np.mean([np.roll(image, step, axis) for step in range(8)], axis=0)
        moved = [
            image[8 : height + 8, 8 + 2 * t : width + 8 + 2 * t] + draw.normal(0, 1, (height, width, 1))
            for t in range(frames)
        ]
        take = "" if number < SAMPLES_SEEN else f", take {number // SAMPLES_SEEN + 1}"
        named = folder / f"a person is yoga{take}-{number % SAMPLES_SEEN}.mp4"
        write_clip(named, np.clip(np.stack(moved), 0, 255).astype(np.uint8), fps=16)


def surroundings(flags: argparse.Namespace) -> dict[str, str]:
    """Environment variables of a process in VBench's environment: its threads, and on a CPU what lets
    torchvision import beside a CPU build of torch.
    """
    threads = {"OMP_NUM_THREADS": str(flags.threads)}
    paths = ["tests/vbench/cpu"] if flags.device == "cpu" else []
    paths += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    return os.environ | threads | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def measure_backend(case: Case, backend: str, flags: argparse.Namespace, work: Path) -> dict[str, Any]:
    """What the worker says. Raises RuntimeError if it fails."""
    names = sorted(file.name for file in flags.videos.glob("*.mp4"))
    facts = {name: fact for name, fact in MADE_UP_FACTS.items() if name == case.dimension}
    entries = [
        {"prompt_en": prompt, "dimension": [case.dimension], "auxiliary_info": facts}
        for prompt in dict.fromkeys(name.rsplit("-", 1)[0] for name in names)
    ]
    filtering = case.dimension == STATIC_FILTER
    scorer = {"files": CHECKPOINTS["raft"]} if filtering else OFFICIAL_SCORERS[case.dimension].as_job()
    job = scorer | {
        "dimension": case.dimension, "case": case.case, "backend": backend,
        "cache": str(flags.weights.resolve()), "sizes": {}, "device": flags.device, "threads": flags.threads,
        "videos": str(flags.videos.resolve()), "names": names, "entries": entries,
        "output": str(work / "answer.json"),
    }  # fmt: skip
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    started = [str(flags.python), "-W", "ignore", "-m", "evaluation.vbench.worker.bench_worker"]
    started += ["--job", str(work / "job.json")]
    if subprocess.run(started, check=False, stdout=subprocess.DEVNULL, env=surroundings(flags)).returncode:
        raise RuntimeError(f"{case.name} failed with the {backend} backend; its last lines say why.")
    answer: dict[str, Any] = load_json((work / "answer.json").read_bytes(), "answer.json")
    return answer


def seconds_a_clip(answer: dict[str, Any], clips: int, *, warm: bool) -> float:
    """Mean over clips. The package may loop over prompts, so an item can be several clips.

    warm: without the first item, if there are more.
    """
    seconds = answer["seconds"]
    each = clips / len(seconds)
    kept = seconds[1:] if warm and len(seconds) > 1 else seconds
    return float(sum(kept) / len(kept) / each)


def largest_difference(official: Sequence[dict[str, Any]], fast: Sequence[dict[str, Any]]) -> float:
    """Relative, of values clip by clip; infinite if rows are of other clips or a yes became a no."""
    if [row["video_path"] for row in official] != [row["video_path"] for row in fast]:
        return math.inf
    differences = [0.0]
    for one, other in zip(official, fast, strict=True):
        before, after = one["video_results"], other["video_results"]
        if isinstance(before, bool):
            differences.append(0.0 if before == after else math.inf)
        else:
            differences.append(abs(after - before) / max(abs(before), 1e-12))
    return max(differences)


def measure_case(case: Case, flags: argparse.Namespace, work: Path) -> CaseTiming:
    """Both backends of one case, one after the other."""
    official, fast = (measure_backend(case, backend, flags, work) for backend in ("official", "fast"))
    clips = len(list(flags.videos.glob("*.mp4")))  # color leaves out those without the object
    warm = official["versions"]["device"] != "cpu" and flags.device != "cpu"
    return CaseTiming(
        case.dimension,
        case.case,
        seconds_a_clip(official, clips, warm=warm),
        seconds_a_clip(fast, clips, warm=warm),
        largest_difference(official["rows"], fast["rows"]),
    )


def counted(timings: Sequence[CaseTiming]) -> list[CaseTiming]:
    """What makes up one model's total: of a dimension's several cases the one of `MIX`, or the first."""
    chosen: dict[str, CaseTiming] = {}
    for one in timings:
        if one.dimension not in chosen or one.case == MIX:
            chosen[one.dimension] = one
    return list(chosen.values())


def score_table(timings: Sequence[CaseTiming]) -> str:
    """Lines for the screen: seconds, ratio, share of the official total, difference; then the totals."""
    total = counted(timings)
    official_h = sum(PROTOCOL_CLIPS[one.dimension] * one.official_s for one in total) / 3600
    fast_h = sum(PROTOCOL_CLIPS[one.dimension] * one.fast_s for one in total) / 3600
    lines = [
        f"{'dimension':34} {'official s':>11} {'ours s':>9} {'ratio':>6} {'share':>7} {'clips':>6} "
        f"{'difference':>11}"
    ]
    for one in timings:
        clips = PROTOCOL_CLIPS[one.dimension]
        share = f"{clips * one.official_s / 3600 / official_h:7.1%}" if one in total else f"{'-':>7}"
        lines.append(
            f"{Case(one.dimension, one.case).name:34} {one.official_s:11.3f} {one.fast_s:9.3f} "
            f"{one.official_s / one.fast_s:6.2f} {share} {clips:6d} {one.difference:11.1e}"
        )
    lines.append(
        f"whole protocol, one model: {official_h:.1f} h official, {fast_h:.1f} h ours, "
        f"{official_h / fast_h:.2f} times less (of several cases of one dimension: {MIX})"
    )
    return "\n".join(lines)


def without_detectron2(cases: Sequence[Case], python: Path) -> list[Case]:
    """The cases that this environment can run: those of GRiT need detectron2."""
    grit = [case for case in cases if "grit" in case.checkpoints]
    program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('detectron2') is None)"
    if not grit or subprocess.run([str(python), "-c", program], check=False).returncode == 0:
        return list(cases)
    log.warning(
        "Not timed without detectron2 (make bench-score DETECTRON2=<checkout or wheel>): %s",
        ", ".join(case.name for case in grit),
    )
    return [case for case in cases if case not in grit]


def make_weights(cases: Sequence[Case], flags: argparse.Namespace) -> None:
    """Random weights of the networks that the cases need, in flags.weights."""
    names = list(dict.fromkeys(name for case in cases for name in case.checkpoints))
    making = [str(flags.python), "-m", "tests.vbench.random_cache", str(flags.weights), *names]
    subprocess.run(making, check=True, env=surroundings(flags))
    if flags.dino is not None:
        hub = flags.weights / CHECKPOINTS["dino"][0]
        for source in flags.dino.glob("*.py"):
            shutil.copyfile(source, hub.parent / source.name)


def time_cases(flags: argparse.Namespace) -> None:
    """Measure, print the table, and write it as JSON. Raises ValueError if a case failed."""
    cases = [
        case
        for case in CASES
        if (not flags.only or case.dimension in flags.only)
        and (not flags.cases or case.case is None or case.case in flags.cases)
    ]
    cases = without_detectron2(cases, flags.python)
    large = flags.device == "cuda"
    width, height = map(int, (flags.size or ("832x480" if large else "256x144")).split("x"))
    frames = flags.frames or (81 if large else 17)
    timings, failed = [], []
    with tempfile.TemporaryDirectory(prefix="bench-score-") as folder:
        work = Path(folder)
        if flags.weights is None:
            flags.weights = work / "cache"
            make_weights(cases, flags)
        if flags.videos is None:
            flags.videos = work / "videos"
            flags.videos.mkdir()
            make_videos(flags.videos, (width, height), frames, flags.clips)
        for case in cases:
            try:
                timings.append(measure_case(case, flags, work))
            except RuntimeError as error:
                log.error("%s", error)
                failed.append(case.name)
            else:
                log.info("%s", score_table(timings[-1:]).splitlines()[1])
    print(score_table(timings) if timings else "nothing was measured")
    settings = {name: str(value) for name, value in vars(flags).items()}
    settings |= {"size": f"{width}x{height}", "frames": str(frames)}
    record = {"settings": settings, "measured": [asdict(one) for one in timings], "failed": failed}
    write_text(flags.output, json.dumps(record, indent=1) + "\n")
    if failed:
        raise ValueError(f"{len(failed)} cases could not be measured: {', '.join(failed)}.")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--python", type=Path, default=Path(".venvs/vbench/bin/python"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", help="<width>x<height>; default 256x144, on a GPU 832x480")
    parser.add_argument("--frames", type=int, help="default 17, on a GPU 81")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(PROTOCOL_CLIPS), metavar="DIMENSION")
    parser.add_argument("--cases", nargs="+", help="of dimensions that have several, such as '50 %% static'")
    parser.add_argument("--videos", type=Path, help="folder of <prompt>-<0 to 4>.mp4, not made-up clips")
    parser.add_argument(
        "--weights", type=Path, help="folder laid out as results/<suite>/vbench/cache, not random weights"
    )
    parser.add_argument(
        "--dino",
        type=Path,
        help="a checkout of DINO's hub repository, not the stand-in of the random weights",
    )
    parser.add_argument("--output", type=Path, default=Path("results/bench/score.json"))
    return run(parser, arguments, time_cases)


if __name__ == "__main__":
    sys.exit(main())
