"""What works in VBench's environment, asked before anything is scored: imports of all dimensions, the device,
decoders of clips.

    python -m evaluation.vbench.worker.probe --clip FILE.mp4 --output FILE.json

Runs with the python of envs/vbench, without network and without any checkpoint;
workflow/scoring/vbench_doctor.py says what the answer means.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.files import VICLIP
from evaluation.vbench.worker.guard import REFUSED
from evaluation.vbench.worker.runner import begin, write_whole

DIMENSIONS = tuple(sorted(path.stem for path in Path(__file__).with_name("scorers").glob("[a-z]*.py")))


def place_vocabulary(target: Path) -> None:
    """The vocabulary that two modules want when they are imported, from the wheel of openai-clip. Raises
    ModuleNotFoundError.
    """
    package = find_spec("clip")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'clip'")
    target.parent.mkdir(parents=True)
    shutil.copyfile(Path(package.origin).with_name(target.name), target)


def import_dimensions() -> dict[str, dict[str, Any]]:
    """Seconds that each dimension's module took, and what went wrong, or None. A module that wanted the
    network counts as wrong.
    """
    found = {}
    for name in DIMENSIONS:
        started, refused = time.process_time(), len(REFUSED)
        fault = None
        try:
            importlib.import_module(f"vbench.{name}")
        except Exception as error:  # whatever an import can raise is what is asked for
            fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if fault is None and len(REFUSED) > refused:
            fault = f"its import {REFUSED[-1]}"
        found[name] = {"seconds": round(time.process_time() - started, 2), "fault": fault}
    return found


def describe_torch() -> dict[str, Any]:
    """Version and build of torch, and the GPUs it can use."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}


def decode(path: str) -> dict[str, Any]:
    """Frames and frames per second of a clip as each of VBench's two decoders sees it, or what went wrong."""
    found: dict[str, Any] = {}
    for name, read in (("decord", _decord), ("opencv", _opencv)):
        try:
            found[name] = read(path)
        except Exception as error:  # as above
            found[name] = {"fault": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return found


def _decord(path: str) -> dict[str, Any]:
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    frames = reader.get_batch(range(len(reader))).asnumpy()
    return {"frames": len(frames), "fps": float(reader.get_avg_fps()), "mean": float(frames.mean())}


def _opencv(path: str) -> dict[str, Any]:
    import cv2

    video, means = cv2.VideoCapture(path), []
    while True:
        there, frame = video.read()
        if not there:
            break
        means.append(float(frame.mean()))
    return {"frames": len(means), "fps": float(video.get(cv2.CAP_PROP_FPS)), "mean": sum(means) / len(means)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clip", required=True)
    parser.add_argument("--output", required=True, type=Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vbench-probe-") as folder:
        cache = Path(folder)
        begin(cache)
        place_vocabulary(cache / VICLIP[1])
        answer = {
            "vbench": version("vbench"),
            "torch": describe_torch(),
            "decoders": decode(flags.clip),
            "dimensions": import_dimensions(),
        }
    write_whole(flags.output, answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
