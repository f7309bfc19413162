"""One job inside VBench's own environment: the official Python API on a private folder of links, every clip
accounted for.

Runs with the python of envs/vbench and imports nothing but the standard library, torch and vbench, so that it
needs no package of the main environment. The job and what it gives are JSON files (evaluation/vbench/plan.py
writes the one, evaluation/vbench/results.py reads the other). All numbers come from
vbench.VBench(...).evaluate in one process; what surrounds it turns its silent faults into one sentence.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.frame_values import FRAME_VALUES
from evaluation.vbench.worker.guard import REFUSED, forbid_network
from evaluation.vbench.worker.read_ahead import ReadAhead

log = logging.getLogger("vbench_job")

Row = dict[str, Any]
ROUNDING = 2e-3
"""How far beyond its limits a value may be, of their distance: cosines of float16 features (CLIP on a GPU)
come in steps of 0.001 there.
"""
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nobody listens: a program that a library starts has no guard of ours (guard.py), so
its downloads end here.
"""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""How torch, its CPU allocator and CUDA's libraries say it."""
READERS = ("load_video", "read_frames_decord_by_fps")
"""Names under which the dimensions import what reads a clip."""
BATCHES = (16, 4, 1)
"""Pictures at once that are tried one after another when memory runs out."""


@dataclass
class Watch:
    """What the package's loop is at. item: number of items begun; finished: whether the loop ran to its end.

    limit: pictures that go through the network at once, None for as many as the package takes; lowered when
    memory runs out.
    paths: clips in the order in which they are read; workers: threads that read ahead. frame_values: of a
    clip, by its name, one value for every pixel frame, a fraction, None where a frame has none; what a fast
    path knows of them.
    """

    clip: str = "none yet"
    item: int = 0
    finished: bool = False
    faults: list[str] = field(default_factory=list)
    on_item: Callable[[], None] | None = None
    limit: int | None = None
    paths: tuple[str, ...] = ()
    workers: int = 1
    frame_values: dict[str, list[float | None]] = field(default_factory=dict)

    def ahead(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """A function that reads a clip, which reads the next ones meanwhile."""
        return ReadAhead(read, self.paths, self.workers)

    def at_once(self, usual: int) -> int:
        """Pictures that go through the network at once where `usual` do otherwise."""
        return usual if self.limit is None else min(usual, self.limit)

    def loop(self, items: Sequence[Any], **_: Any) -> Iterator[Any]:
        """In place of tqdm: the same items, remembered and logged."""
        for number, item in enumerate(items, 1):
            self.item = number
            if isinstance(item, str):
                self.clip = Path(item).name
            if self.on_item is not None:
                self.on_item()
            log.info("%d of %d", number, len(items))
            yield item
        self.finished = True

    def reading(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """A function that reads a clip, remembering which."""

        def remembered(path: str, *arguments: Any, **options: Any) -> Any:
            self.clip = Path(path).name
            return read(path, *arguments, **options)

        return remembered


@dataclass(frozen=True)
class Scorer:
    """How one dimension is run.

    files: checkpoints it reads, below the cache folder. adapt: called with the package's module of the
    dimension and the watch before the run, it returns what is called with the rows afterwards, or None.
    leaves_out: whether the package may leave clips out on purpose.
    batched: whether `adapt` made the network obey the watch's limit, so that a smaller batch can be tried.
    speed_up: called with the module and the watch before everything else, on the fast path only. It replaces
    functions and classes of the module by ones that give the same values up to the rounding of sums, in
    batches that obey the watch's limit.
    limits: what a clip's own value can be, on the scale of the package's rows.
    """

    dimension: str
    files: tuple[str, ...]
    adapt: Callable[[ModuleType, Watch], Callable[[list[Row]], None] | None] | None = None
    leaves_out: bool = False
    batched: bool = False
    limits: tuple[float, float] = (0.0, 1.0)
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    speed_up: Callable[[ModuleType, Watch], None] | None = None

    def path(self, asked: str) -> str:
        """Which path computes: "fast" where it is asked for and there is one, else "official"."""
        return "fast" if asked == "fast" and self.speed_up is not None else "official"


def environment(cache: Path) -> dict[str, str]:
    """Where the libraries look for their files, and that they must not look elsewhere."""
    return {
        "VBENCH_CACHE_DIR": str(cache / "vbench"),
        "TORCH_HOME": str(cache / "torch"),
        "HF_HOME": str(cache / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **dict.fromkeys(PROXIES, NOWHERE),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
    }


def check_files(files: Iterable[str], cache: Path, sizes: dict[str, int]) -> None:
    """Raises FileNotFoundError or ValueError unless every checkpoint is there in its size."""
    for name in files:
        path = cache / name
        if not path.is_file():
            raise FileNotFoundError(
                f"The checkpoint {path} is missing; run `make fetch`, then remake the cache (rule "
                "vbench_weights)."
            )
        if name in sizes and path.stat().st_size != sizes[name]:
            raise ValueError(
                f"The checkpoint {path} has {path.stat().st_size:,} bytes, expected {sizes[name]:,}; "
                "delete it and remake the cache (rule vbench_weights)."
            )


def open_device(name: str) -> Any:
    """The device as VBench wants it, an object. Raises RuntimeError if a GPU is wanted and cannot be used."""
    import torch

    granted = os.environ.get("CUDA_VISIBLE_DEVICES", "") or os.environ.get("SLURM_JOB_GPUS", "")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() or granted else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"Scoring must run on a GPU, but torch {torch.__version__} of the VBench environment finds "
            "none; ask for one (--profile slurm does), rebuild with envs/vbench/install.sh --torch cuda, "
            "or set `device: cpu` in the suite's file."
        )
    return torch.device(name)


def evaluate(scorer: Scorer, job: dict[str, Any], watch: Watch) -> tuple[float | None, list[Row]]:
    """The package's own score and rows for the clips of a job; score None if it could count none of them."""
    import torch
    from vbench import VBench

    if job["threads"]:
        torch.set_num_threads(job["threads"])
    device = open_device(job["device"])
    module = importlib.import_module(f"vbench.{scorer.dimension}")
    watch.paths = tuple(str(Path(job["videos"], name)) for name in job["names"])
    watch.workers = job["threads"] or 1
    if scorer.speed_up is not None and scorer.path(job["path"]) == "fast":
        scorer.speed_up(module, watch)
    module.tqdm = watch.loop  # type: ignore[attr-defined]
    for name in READERS:
        if hasattr(module, name):
            setattr(module, name, watch.reading(getattr(module, name)))
    finish = scorer.adapt(module, watch) if scorer.adapt else None
    with tempfile.TemporaryDirectory(prefix="vbench-") as folder:
        info = Path(folder, "full_info.json")
        info.write_text(json.dumps(job["entries"]), encoding="utf-8")
        official = VBench(device, str(info), folder)
        try:
            # Some dimensions keep the graph of every frame otherwise (scene: 22 GB for one clip); no value
            # depends on it.
            with torch.no_grad(), scorer.around():
                try_batches(
                    scorer.batched or scorer.path(job["path"]) == "fast",
                    watch,
                    lambda: official.evaluate(
                        job["videos"], name="part", dimension_list=[scorer.dimension], local=True
                    ),
                )
        except ZeroDivisionError:
            if not (scorer.leaves_out and watch.finished):
                raise
            return None, []
        score, rows = json.loads(Path(folder, "part_eval_results.json").read_text(encoding="utf-8"))[
            scorer.dimension
        ]
    for row in rows:
        row["video_path"] = Path(row["video_path"]).name
        if row["video_path"] in watch.frame_values:
            row[FRAME_VALUES] = watch.frame_values[row["video_path"]]
    if finish is not None:
        finish(rows)
    return score, rows


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU, where torch raises a plain
    RuntimeError.
    """
    return isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def try_batches(batched: bool, watch: Watch, attempt: Callable[[], None]) -> None:
    """Run the package; where memory runs out and smaller batches can be had, again with them, from the first
    clip.
    """
    import torch

    limits = BATCHES if batched else ()
    for smaller in (*limits, None):
        try:
            attempt()
        except (RuntimeError, MemoryError) as error:
            if smaller is None or not is_out_of_memory(error):
                raise
            log.warning(
                "out of memory at %s with %s pictures at once (%s); again with %d",
                watch.clip,
                watch.limit or "all",
                error,
                smaller,
            )
        else:
            return
        watch.limit, watch.item, watch.finished = smaller, 0, False
        torch.cuda.empty_cache()


def in_batches(
    network: Callable[[Any], Any], watch: Watch, join: Callable[[list[Any]], Any]
) -> Callable[[Any], Any]:
    """A function of a stack of pictures that obeys the watch's limit. Rounding may differ in the last digits
    from one batch.
    """

    def limited(pictures: Any) -> Any:
        if watch.limit is None or len(pictures) <= watch.limit:
            return network(pictures)
        return join([network(part) for part in pictures.split(watch.limit)])

    return limited


def check_rows(scorer: Scorer, rows: Sequence[Row], names: Sequence[str], watch: Watch) -> None:
    """Raises ValueError, one sentence, unless the rows are those of the clips, in order, with finite numbers,
    and nothing was swallowed.
    """
    what = f"VBench's {scorer.dimension}"
    if REFUSED:
        raise ValueError(
            f"{what} {REFUSED[0]}, so a file that it needs is missing; see `make fetch`. Nothing was scored."
        )
    if watch.faults:
        raise ValueError(
            f"{what} met {len(watch.faults)} errors that it would have counted as clips without a finding "
            f"(first: {watch.faults[0]}); nothing was scored."
        )
    found = [row["video_path"] for row in rows]
    left_out = [name for name in names if name not in found]
    if found != [name for name in names if name in set(found)]:
        raise ValueError(
            f"{what} gave {len(found)} results that are not those of the {len(names)} clips in order."
        )
    if left_out and not scorer.leaves_out:
        raise ValueError(
            f"{what} dropped {len(left_out)} of {len(names)} clips without a word (first: {left_out[0]}), "
            "which it could not read; delete those clips and rerun, the sample stage makes them again."
        )
    bad = [row["video_path"] for row in rows if not all(map(math.isfinite, _numbers(row)))]
    if bad:
        raise ValueError(
            f"{what} gave a result that is no finite number for {bad[0]} ({len(bad)} such clips); look at "
            "the clip and the weights."
        )
    refuse_impossible(scorer, rows)


def refuse_impossible(scorer: Scorer, rows: Sequence[Row]) -> None:
    """Raises ValueError naming the model's file if a clip's value is none that the dimension can have (VBench
    prints 323.99 then).
    """
    low, high = scorer.limits
    spare = ROUNDING * (high - low)
    wrong = [row for row in rows if not low - spare <= float(row["video_results"]) <= high + spare]
    if wrong:
        models = ", ".join(scorer.files) or "none, it reads no checkpoint"
        raise ValueError(
            f"VBench's {scorer.dimension} gave {float(wrong[0]['video_results']):g} for "
            f"{wrong[0]['video_path']} ({len(wrong)} of {len(rows)} clips), outside {low:g} to {high:g}: a "
            f"model file is damaged or another than the published one ({models}); delete it in "
            "resources/weights/vbench and run `make fetch`. Nothing was scored."
        )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


def run(scorer: Scorer, arguments: Sequence[str] | None = None) -> int:
    """Command line of one scorer: --job FILE. Writes the job's output, or one sentence and exit code 1."""
    parser = argparse.ArgumentParser(description=f"Run VBench's {scorer.dimension} on the clips of a job.")
    parser.add_argument("--job", type=Path, required=True, help="JSON, see evaluation/vbench/plan.py")
    job = json.loads(parser.parse_args(arguments).job.read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    watch = Watch()
    try:
        begin(Path(job["cache"]))
        check_files(scorer.files, Path(job["cache"]), job["sizes"])
        score, rows = evaluate(scorer, job, watch)
        check_rows(scorer, rows, job["names"], watch)
        write_whole(
            Path(job["output"]),
            {
                "dimension": scorer.dimension,
                "score": score,
                "rows": rows,
                "versions": versions() | {"path": scorer.path(job["path"])},
            },
        )
    except Exception as error:
        traceback.print_exc()
        log.error("%s", sentence(scorer.dimension, error, watch, scorer.files))
        return 1
    return 0


def begin(cache: Path) -> None:
    """Before vbench is imported, which reads its folders then: set them, close the network, hide our packages
    from the libraries.
    """
    os.environ.update(environment(cache))
    forbid_network()
    root = Path(__file__).resolve().parents[3]
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != root]


def sentence(dimension: str, error: Exception, watch: Watch, files: Sequence[str] = ()) -> str:
    """What went wrong, where, in one line. files: checkpoints that are read before the first clip."""
    cause = " ".join(f"{error}".split()) or type(error).__name__
    if is_out_of_memory(error):
        return (
            f"{dimension} ran out of memory at clip {watch.clip} ({cause}); give the job more, or a GPU "
            "that nobody else uses. Parts that are done are kept."
        )
    if watch.finished and isinstance(error, ValueError):
        return cause
    if watch.item == 0 and isinstance(error, FileNotFoundError | ValueError):
        return f"{dimension}: {cause}"
    if watch.item == 0:
        return (
            f"{dimension} failed before its first clip with {type(error).__name__}: {cause[:500]}; a "
            f"checkpoint is another file than the published one ({', '.join(files) or 'none is read'}: "
            "delete it in resources/weights/vbench and run `make fetch`), or the environment is broken "
            "(delete .venvs/vbench)."
        )
    return (
        f"{dimension} failed at clip {watch.clip} with {type(error).__name__}: {cause}; if the clip cannot "
        "be decoded, delete it and rerun, the sample stage makes it again."
    )


def versions() -> dict[str, str]:
    """What computed the numbers."""
    from importlib.metadata import version

    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"vbench": version("vbench"), "torch": torch.__version__, "device": device}


def write_whole(path: Path, value: Any) -> None:
    """JSON, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)
