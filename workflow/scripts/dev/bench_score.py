"""Time the official scorer and ours: seconds a clip and dimension in one run, their ratio, the largest
difference of a clip's value.

Random weights (tests/vbench/random_cache.py) and made-up clips, or --weights and --videos. Each measurement
is a process of VBench's environment of its own (evaluation/vbench/worker/bench_worker.py), so that nothing is
shared; loading is not counted. Random RAFT sees motion anywhere, so the share of still clips is set by moving
the limits of the flow, not by the clips: the flow itself is computed as ever.
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

from evaluation.vbench.worker import files

log = logging.getLogger("bench_score")

PATHS = ("official", "fast")
FACTS: dict[str, Any] = {
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
SAMPLES = 5
"""Of a prompt: the package looks at the indices 0 to 4."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. clips: how many of one model the whole protocol scores; weights: names of
    tests/vbench/random_cache.py.

    case: what is done to the package before, a key of bench_worker.STEERED, on both paths alike.
    """

    dimension: str
    clips: int
    weights: tuple[str, ...] = ()
    case: str | None = None

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.dimension}, {self.case}" if self.case else self.dimension


CASES = (
    Case("static_filter", 1875, ("raft",), "0 % still"),
    Case("static_filter", 1875, ("raft",), "50 % still"),
    Case("static_filter", 1875, ("raft",), "100 % still"),
    Case("dynamic_degree", 360, ("raft",), "0 % still"),
    Case("dynamic_degree", 360, ("raft",), "50 % still"),
    Case("dynamic_degree", 360, ("raft",), "100 % still"),
    Case("subject_consistency", 360, ("dino",)),
    Case("motion_smoothness", 360, ("amt",)),
    Case("temporal_flickering", 375),
    Case("background_consistency", 430, ("clip_b32",)),
    Case("appearance_style", 450, ("clip_b32",)),
    Case("aesthetic_quality", 465, ("clip_l14", "aesthetic")),
    Case("imaging_quality", 465, ("musiq",)),
    Case("overall_consistency", 465, ("viclip",)),
    Case("temporal_style", 500, ("viclip",)),
    Case("human_action", 500, ("umt",)),
    Case("scene", 430, ("bert", "tag2text")),
    Case("object_class", 395, ("bert", "grit"), "texts of 2 words"),
    Case("multiple_objects", 410, ("bert", "grit"), "texts of 2 words"),
    Case("color", 425, ("bert", "grit"), "texts of 5 words"),
    Case("spatial_relationship", 420, ("bert", "grit"), "texts of 2 words"),
)
"""What is measured, with the protocol's counts (4,730 clips in eleven blocks, 1,875 of the filter)."""

MIX = "50 % still"
"""Which of several cases of one dimension the totals take, where none is named."""


@dataclass(frozen=True, slots=True)
class Measured:
    """official_s, fast_s: seconds a clip; difference: largest relative one of a clip's value; path: what
    computed the second.
    """

    name: str
    clips: int
    official_s: float
    fast_s: float
    difference: float
    path: str


def make_videos(folder: Path, size: tuple[int, int], frames: int, clips: int) -> None:
    """Textured pictures that drift, named as the package wants them."""
    import numpy as np

    from evaluation.clips import write_clip

    width, height = size
    for number in range(clips):
        draw = np.random.default_rng(number)
        coarse = draw.uniform(0, 256, (height // 8 + 3, (width + 2 * frames) // 8 + 3, 3)).astype(np.float32)
        picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
        for axis in (0, 1):
            picture = np.mean([np.roll(picture, step, axis) for step in range(8)], axis=0)
        moved = [
            picture[8 : height + 8, 8 + 2 * t : width + 8 + 2 * t] + draw.normal(0, 1, (height, width, 1))
            for t in range(frames)
        ]
        take = "" if number < SAMPLES else f", take {number // SAMPLES + 1}"
        named = folder / f"a person is yoga{take}-{number % SAMPLES}.mp4"
        write_clip(named, np.clip(np.stack(moved), 0, 255).astype(np.uint8), fps=16)


def surroundings(flags: argparse.Namespace) -> dict[str, str]:
    """Of a process in VBench's environment: its threads, and on a CPU what lets torchvision import beside a
    CPU build of torch.
    """
    threads = {"OMP_NUM_THREADS": str(flags.threads)}
    paths = ["tests/vbench/cpu"] if flags.device == "cpu" else []
    paths += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    return os.environ | threads | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})


def measure(case: Case, path: str, flags: argparse.Namespace, work: Path) -> dict[str, Any]:
    """What the worker says. Raises RuntimeError if it fails."""
    names = sorted(file.name for file in flags.videos.glob("*.mp4"))
    facts = {case.dimension: FACTS[case.dimension]} if case.dimension in FACTS else {}
    infos = [
        {"prompt_en": prompt, "dimension": [case.dimension], "auxiliary_info": facts}
        for prompt in dict.fromkeys(name.rsplit("-", 1)[0] for name in names)
    ]
    job = {
        "dimension": case.dimension, "case": case.case, "path": path, "cache": str(flags.weights.resolve()), "sizes": {},
        "device": flags.device, "threads": flags.threads, "videos": str(flags.videos.resolve()), "names": names,
        "entries": infos, "output": str(work / "answer.json"),
    }  # fmt: skip
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [
        str(flags.python),
        "-W",
        "ignore",
        "-m",
        "evaluation.vbench.worker.bench_worker",
        "--job",
        str(work / "job.json"),
    ]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=surroundings(flags))
    if done.returncode:
        raise RuntimeError(f"{case.name} failed on the {path} path; its last lines say why.")
    answer: dict[str, Any] = json.loads((work / "answer.json").read_text(encoding="utf-8"))
    return answer


def seconds_a_clip(answer: dict[str, Any], clips: int, *, warm: bool) -> float:
    """Mean over clips. The package may loop over prompts, so an item can be several clips; warm: without the
    first item, if there are more.
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


def run_case(case: Case, flags: argparse.Namespace, work: Path) -> Measured:
    """Both paths of one case, one after the other."""
    answers = {path: measure(case, path, flags, work) for path in PATHS}
    clips = len(list(flags.videos.glob("*.mp4")))  # color leaves out those without the object
    on_gpu = answers["official"]["versions"]["device"] != "cpu" and flags.device != "cpu"
    official_s, fast_s = (seconds_a_clip(answers[path], clips, warm=on_gpu) for path in PATHS)
    difference = largest_difference(answers["official"]["rows"], answers["fast"]["rows"])
    return Measured(
        case.name, case.clips, official_s, fast_s, difference, answers["fast"]["versions"]["path"]
    )


def counted(measured: Sequence[Measured]) -> list[Measured]:
    """Those that make up one model's total: of a dimension in several cases the one of `MIX`, or the only one
    that was measured.
    """
    chosen: dict[str, Measured] = {}
    for one in measured:
        dimension, _, case = one.name.partition(", ")
        if dimension not in chosen or case == MIX:
            chosen[dimension] = one
    return list(chosen.values())


def table(measured: Sequence[Measured]) -> str:
    """Lines for the screen: seconds, ratio, share of the official total, difference; then the totals."""
    total = counted(measured)
    hours = {path: sum(one.clips * getattr(one, f"{path}_s") for one in total) / 3600 for path in PATHS}
    lines = [
        f"{'dimension':34} {'official s':>11} {'ours s':>9} {'ratio':>6} {'share':>7} {'clips':>6} "
        f"{'difference':>11}"
    ]
    for one in measured:
        share = one.clips * one.official_s / 3600 / hours["official"] if one in total else None
        said = f"{share:7.1%}" if share is not None else f"{'-':>7}"
        lines.append(
            f"{one.name:34} {one.official_s:11.3f} {one.fast_s:9.3f} {one.official_s / one.fast_s:6.2f} "
            f"{said} {one.clips:6d} "
            f"{one.difference:11.1e}{'' if one.path == 'fast' else '  (no fast path)'}"
        )
    lines.append(
        f"whole protocol, one model: {hours['official']:.1f} h official, {hours['fast']:.1f} h ours, "
        f"{hours['official'] / hours['fast']:.2f} times less (of several cases of one dimension: {MIX})"
    )
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", type=Path, default=Path(".venvs/vbench/bin/python"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", help="<width>x<height>; default 256x144, on a GPU 832x480")
    parser.add_argument("--frames", type=int, help="default 17, on a GPU 81")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(dict.fromkeys(case.dimension for case in CASES)),
        metavar="DIMENSION",
    )
    parser.add_argument("--cases", nargs="+", help="of dimensions that have several, such as '50 %% still'")
    parser.add_argument(
        "--videos", type=Path, help="folder of <prompt>-<0 to 4>.mp4, in place of made-up clips"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="folder laid out as results/<suite>/vbench/cache, in place of random weights",
    )
    parser.add_argument(
        "--dino",
        type=Path,
        help="a checkout of DINO's hub repository, in place of the stand-in of the random weights",
    )
    parser.add_argument("--output", type=Path, default=Path("results/bench/score.json"))
    return parser.parse_args(arguments)  # fmt: skip


def without_detectron2(cases: Sequence[Case], flags: argparse.Namespace) -> list[Case]:
    """The cases that this environment can run; those of GRiT are left out, by name, where detectron2 is not
    installed.
    """
    grit = [case for case in cases if "grit" in case.weights]
    command = [
        str(flags.python),
        "-c",
        "import importlib.util, sys; sys.exit(importlib.util.find_spec('detectron2') is None)",
    ]
    if not grit or subprocess.run(command, check=False).returncode == 0:
        return list(cases)
    log.warning(
        "Not timed without detectron2 (make bench-score DETECTRON2=<checkout or wheel>): %s",
        ", ".join(case.name for case in grit),
    )
    return [case for case in cases if case not in grit]


def main(arguments: Sequence[str] | None = None) -> int:
    flags = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    cases = [
        case
        for case in CASES
        if (not flags.only or case.dimension in flags.only)
        and (not flags.cases or case.case is None or case.case in flags.cases)
    ]
    cases = without_detectron2(cases, flags)
    large = flags.device == "cuda"
    size = [int(side) for side in (flags.size or ("832x480" if large else "256x144")).split("x")]
    frames = flags.frames or (81 if large else 17)
    measured, failed = [], []
    with tempfile.TemporaryDirectory(prefix="bench-score-") as folder:
        work = Path(folder)
        if flags.weights is None:
            flags.weights = work / "cache"
            names = list(dict.fromkeys(name for case in cases for name in case.weights))
            command = [str(flags.python), "-m", "tests.vbench.random_cache", str(flags.weights), *names]
            subprocess.run(command, check=True, env=surroundings(flags))
            if flags.dino is not None:
                hub = flags.weights / files.DINO[0]
                for source in flags.dino.glob("*.py"):
                    shutil.copyfile(source, hub.parent / source.name)
        if flags.videos is None:
            flags.videos = work / "videos"
            flags.videos.mkdir()
            make_videos(flags.videos, (size[0], size[1]), frames, flags.clips)
        for case in cases:
            try:
                measured.append(run_case(case, flags, work))
            except RuntimeError as fault:
                log.error("%s", fault)
                failed.append(case.name)
            else:
                log.info("%s", table(measured[-1:]).splitlines()[1])
    print(table(measured) if measured else "nothing was measured")
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in vars(flags).items()} | {"size": size, "frames": frames}
    record = {"settings": settings, "measured": [asdict(one) for one in measured], "failed": failed}
    flags.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
