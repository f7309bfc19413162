"""One job in VBench's environment: a process without network that reads the job from a JSON file, and writes
its answer or one error message.

The worker runs with the python of envs/vbench and imports nothing but the standard library, torch and
VBench's packages. workflow/scoring/vbench_process.py writes the job and starts the process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from evaluation.vbench.worker.guard import forbid_network
from evaluation.vbench.worker.watch import LoopWatch, is_out_of_memory
from evaluation.vbench.worker.whole import whole_file

log = logging.getLogger("vbench_job")

PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
NOWHERE = "http://127.0.0.1:9"
"""The discard port, where nobody listens. A program that a library starts has no guard of ours (guard.py), so
its downloads end here.
"""

WorkerJob = dict[str, Any]
"""Every job has: dimension, its name in messages; cache, the folder of checkpoints; files, those that it
reads, and sizes, their bytes by name; device; threads; backend, "fast" or "official"; output, where the
answer goes.
"""


def run_job(
    work: Callable[[WorkerJob, LoopWatch], dict[str, Any]], arguments: Sequence[str] | None = None
) -> int:
    """The command line of a job, --job FILE; returns the exit code.

    work: gives the answer, to which the versions of what computed it are added. Whatever it raises is logged
    as one error message, and the exit code is 1.
    """
    parser = argparse.ArgumentParser(description="Run one job in VBench's environment.")
    parser.add_argument("--job", type=Path, required=True, help="JSON file")
    job = json.loads(parser.parse_args(arguments).job.read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    watch = LoopWatch()
    try:
        isolate_process(Path(job["cache"]))
        check_files(job["files"], Path(job["cache"]), job["sizes"])
        import torch

        torch.set_num_threads(job["threads"])
        answer = work(job, watch)
        write_whole(Path(job["output"]), answer | {"versions": computed_by() | {"backend": job["backend"]}})
    except Exception as error:
        traceback.print_exc()
        log.error("%s", error_message(job["dimension"], error, watch, job["files"]))
        return 1
    return 0


def isolate_process(cache: Path) -> None:
    """Set the folders that vbench reads at import, close the network, hide our packages from libraries."""
    os.environ.update(environment(cache))
    forbid_network()
    root = Path(__file__).resolve().parents[3]
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != root]


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


def error_message(dimension: str, error: Exception, watch: LoopWatch, files: Sequence[str] = ()) -> str:
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


def computed_by() -> dict[str, str]:
    """Versions of vbench and torch, and the device."""
    from importlib.metadata import version

    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"vbench": version("vbench"), "torch": torch.__version__, "device": device}


def write_whole(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
