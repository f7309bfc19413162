"""What works in VBench's environment, asked before anything is scored: imports of all dimensions, the device,
decoders of clips.

    python -m evaluation.vbench.worker.probe --clip FILE --vocabulary NAME --output FILE DIMENSION ...

Needs no network and no checkpoint; workflow/scoring/vbench_doctor.py says what the answer means.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.guard import REFUSED
from evaluation.vbench.worker.job import isolate_process, write_whole


def place_vocabulary(target: Path) -> None:
    """Copy the vocabulary that two modules want when they are imported, from the wheel of openai-clip. Raises
    ModuleNotFoundError.
    """
    package = find_spec("clip")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'clip'")
    target.parent.mkdir(parents=True)
    shutil.copyfile(Path(package.origin).with_name(target.name), target)


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives, or {"error": message} of whatever it raises."""
    try:
        return work()
    except Exception as error:  # whatever an import or a decoder can raise is what is asked for
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def import_dimension(name: str) -> dict[str, Any]:
    """Seconds that importing a dimension took, and what went wrong (wanting the network too), or None."""
    started, refused = time.process_time(), len(REFUSED)

    def load() -> dict[str, Any]:
        importlib.import_module(f"vbench.{name}")
        return {"error": f"its import {REFUSED[-1]}" if len(REFUSED) > refused else None}

    return attempt(load) | {"seconds": round(time.process_time() - started, 2)}


def describe_torch() -> dict[str, Any]:
    """Version and build of torch, and the GPUs it can use."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}


def decode_by_decord(path: str) -> dict[str, Any]:
    """Frames, frames a second and mean brightness of a clip as decord sees it."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    frames = reader.get_batch(range(len(reader))).asnumpy()
    return {"frames": len(frames), "fps": float(reader.get_avg_fps()), "mean": float(frames.mean())}


def decode_by_opencv(path: str) -> dict[str, Any]:
    """The same as OpenCV sees it."""
    import cv2

    video, means = cv2.VideoCapture(path), []
    while True:
        there, frame = video.read()
        if not there:
            break
        means.append(float(frame.mean()))
    return {"frames": len(means), "fps": float(video.get(cv2.CAP_PROP_FPS)), "mean": sum(means) / len(means)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clip", required=True)
    parser.add_argument("--vocabulary", required=True, help="its place in the folder of checkpoints")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("dimensions", nargs="+")
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="vbench-probe-") as folder:
        cache = Path(folder)
        isolate_process(cache)
        place_vocabulary(cache / flags.vocabulary)
        answer = {
            "vbench": version("vbench"),
            "torch": describe_torch(),
            "decoders": {
                "decord": attempt(lambda: decode_by_decord(flags.clip)),
                "opencv": attempt(lambda: decode_by_opencv(flags.clip)),
            },
            "dimensions": {name: import_dimension(name) for name in flags.dimensions},
        }
    write_whole(flags.output, answer)


if __name__ == "__main__":
    main()
