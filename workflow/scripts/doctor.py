"""Say in one screen what this machine can run for a suite, and what is missing; exits 1 if something needed
is.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.clip_reader import read_clip
from evaluation.clips import write_clip
from evaluation.code_state import code_state
from evaluation.command import add_suite, command, run
from evaluation.files import file_sha256
from workflow.external.changed_files import remembered
from workflow.planning.banner import expected_prompts, run_needs, start_notices
from workflow.planning.needs import files_of, released_alternative
from workflow.planning.paths import check_weight_files, own_weights, row_weights, verified_folders
from workflow.planning.resources import missing_resources
from workflow.planning.suite import OFFICIAL_BENCHMARKS, Suite
from workflow.planning.suite_file import RELEASED, read_suite
from workflow.planning.surroundings import OWN_HOME, settle_surroundings
from workflow.scoring.vbench_doctor import SHOWN_FILES, DoctorCheck, check_scorer


def check_python() -> DoctorCheck:
    """Whether this Python is one that is supported."""
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    said = f"{platform.python_version()} (3.11 or 3.12 is supported)"
    return DoctorCheck("ok" if good else "MISSING", "python", said)


def check_surroundings() -> DoctorCheck:
    """What shells and containers often lack or set: git, a home directory, PYTHONSAFEPATH."""
    root = Path(__file__).parents[2]
    settle_surroundings(root)
    code = code_state(root)
    notes = []
    if code.dirty is None:
        notes.append("no git, or no checkout of its own: records call the commit unknown")
    if os.environ.get("HOME") == str(root / OWN_HOME):
        notes.append(f"no home to write to: {OWN_HOME} is taken; plain snakemake wants HOME set")
    if sys.flags.safe_path:
        notes.append("PYTHONSAFEPATH is set: jobs are started without it")
    if notes:
        return DoctorCheck("note", "surroundings", "; ".join(notes))
    return DoctorCheck("ok", "surroundings", f"git, commit {code.commit[:12]}; a home directory")


def check_torch(suite: Suite) -> DoctorCheck:
    """Version and build of torch, and whether it fits the suite's device."""
    if importlib.util.find_spec("torch") is None:
        return DoctorCheck("MISSING", "torch", "not installed; run make env")
    import torch  # only here: the other checks must show without it

    build = f"{torch.__version__}, {'CUDA ' + torch.version.cuda if torch.version.cuda else 'CPU build'}"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = f"{build}, {len(gpus)} GPUs{': ' + ', '.join(gpus) if gpus else ''}"
    if suite.device == "cuda" and not gpus:
        found += f"; suite {suite.suite} samples on GPUs, on this machine it can only be planned"
        return DoctorCheck("note", "torch", found)
    return DoctorCheck("ok", "torch", found)


def check_attention(suite: Suite) -> DoctorCheck:
    """The attention kernel that a job on a GPU would use, and what would be faster and how to get it."""
    what = "attention"
    if importlib.util.find_spec("torch") is None:
        return DoctorCheck("note", what, "known once torch is installed")
    import torch  # only here, as above

    from models.attention import FORCED, best_kernel

    here = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
    if suite.device == "cpu" and not here:
        return DoctorCheck("ok", what, "torch's own; this suite samples on CPUs")
    told, faster = [], False
    try:
        for capability in dict.fromkeys(here or CARDS):
            kernel = best_kernel(capability).name
            card = CARDS.get(capability, f"compute capability {capability[0]}.{capability[1]}")
            hint = faster_kernel(capability, kernel)
            faster |= bool(hint)
            told.append(
                f"{'' if here else 'a job '}on {card} {'uses ' if here else 'would use '}{kernel}{hint}"
            )
    except ValueError as error:
        return DoctorCheck("MISSING", what, str(error))
    forced = f" ({FORCED}={os.environ[FORCED]} asks for it)" if os.environ.get(FORCED) else ""
    return DoctorCheck("note" if faster and not forced else "ok", what, f"{'; '.join(told)}{forced}")


CARDS = {(9, 0): "Hopper", (8, 0): "Ampere and Ada"}
"""Cards for which there is a choice of kernels, by a compute capability that stands for them."""


def faster_kernel(capability: tuple[int, int], kernel: str) -> str:
    """What would be faster than a kernel on a card, and how to get it; empty if nothing is known to be."""
    if capability == (9, 0) and not kernel.startswith("fa3"):
        return ", and with FlashAttention 3 a clip takes 7 % less time (make env FLASH_ATTN=3)"
    if capability[0] == 8 and not kernel.startswith("fa2"):
        return ", and FlashAttention 2 may be faster, which was not measured (make env FLASH_ATTN=build)"
    return ""


def check_machine() -> DoctorCheck:
    """Cores, and whether there is memory for the toybox suite."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    said = f"{os.cpu_count()} cores, {memory:.1f} GiB of memory (4 are enough)"
    return DoctorCheck("ok" if memory >= 4 else "note", "machine", said)


def check_disk(suite: Suite) -> DoctorCheck:
    """Free disk here, against what is still to be fetched."""
    free = shutil.disk_usage(".").free / 1e9
    to_fetch = files_of(Path.cwd(), suite, scorer=bool(suite.rows_with_clips)).missing / 1000
    fetching = f", {to_fetch:.1f} GB are still to be fetched" if to_fetch else ""
    said = f"{free:.1f} GB free here{fetching}; results/{suite.suite} is the run's folder"
    return DoctorCheck("ok" if free > 2 + to_fetch else "note", "disk", said)


def check_codec() -> DoctorCheck:
    """Write and read a small clip."""
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, frames, fps=16)
        count = len(read_clip(path).frames)
    said = f"wrote and read {count} of 9 frames (libx264)"
    return DoctorCheck("ok" if count == 9 else "MISSING", "mp4 codec", said)


def check_shipped(suite: Suite) -> DoctorCheck:
    """Shipped weights: present, and the bytes that their description promises."""
    what = "shipped weights"
    names = {row_weights(suite, row) for row in suite.weights} | {suite.model.codec, suite.model.text}
    names |= {name for plan in suite.train.values() for name in plan.networks if name not in suite.train}
    own = {name for name in names if own_weights(suite, name) is not None}
    check_weight_files(suite, Path.cwd())
    shipped = sorted(Path(name) for name in names - own if not name.startswith("resources/"))
    absent = [str(path) for path in shipped if not path.is_file()]
    if absent:
        return DoctorCheck("MISSING", what, f"{', '.join(absent)}; restore them with git checkout")
    wrong = [
        str(path)
        for path in shipped
        if file_sha256(path) not in path.with_suffix(".json").read_text(encoding="utf-8")
    ]
    if wrong:
        said = f"{', '.join(wrong)} differ from the sha256 in their .json; restore them"
        return DoctorCheck("MISSING", what, said)
    return DoctorCheck("ok", what, f"{len(shipped)} files, all as described")


def check_fetched(suite: Suite, *, released: bool) -> DoctorCheck:
    """The first lines of what `make fetch` would list."""
    screen = missing_resources(Path.cwd(), suite, released=released)
    if not screen:
        proofs = [facts.proven for folder in verified_folders(suite) for facts in remembered(folder).values()]
        proven = f"; {len(proofs)} hashed, the first {min(proofs)}" if proofs else ""
        return DoctorCheck("ok", "fetched files", f"nothing is missing{proven}")
    first, *files, get, _ = screen.splitlines()
    more = [f"  and {len(files) - SHOWN_FILES} more"] if len(files) > SHOWN_FILES else []
    return DoctorCheck("MISSING", "fetched files", "\n".join([first, *files[:SHOWN_FILES], *more, get]))


def check_slurm() -> DoctorCheck:
    """Whether jobs can be sent to a cluster from here, and its partitions."""
    if shutil.which("sbatch") is None:
        said = "no sbatch here; --profile slurm needs a login node of a cluster"
        return DoctorCheck("note", "slurm", said)
    answer = subprocess.run(
        ["sinfo", "-h", "-o", "%P %D %G"], capture_output=True, text=True, check=False, timeout=20
    )
    if answer.returncode != 0:
        said = "sbatch is installed, but no cluster answers; --profile slurm needs one"
        return DoctorCheck("note", "slurm", said)
    return DoctorCheck("ok", "slurm", "; ".join(answer.stdout.split("\n")[:4]).strip("; "))


def doctor(flags: argparse.Namespace) -> None:
    """Print every check, then what a run of the suite would do. Raises ValueError if something is missing."""
    root, released = Path.cwd(), flags.replace.get("weights") == RELEASED
    suite = read_suite(flags.config, root, flags.replace)
    checks = [
        check_python(),
        check_surroundings(),
        check_torch(suite),
        check_attention(suite),
        check_machine(),
        check_disk(suite),
        check_codec(),
        check_shipped(suite),
        check_fetched(suite, released=released),
        check_slurm(),
    ]
    if suite.benchmark in OFFICIAL_BENCHMARKS and suite.rows_with_clips:
        checks += check_scorer(suite, root, released=released)
    for check in checks:
        sys.stdout.write(f"{check.verdict:8}{check.what:17}{check.found}\n")
    prompts = expected_prompts(suite, root)
    everything: list[tuple[str, str | None]] = [("train", row) for row in suite.train]
    everything += [("vbench_weights", None)] if suite.rows_with_clips else []
    alternative = released_alternative(root, [flags.config], flags.replace)
    notices = start_notices(suite, prompts, root) if prompts is not None else []
    for line in (*run_needs(root, suite, prompts, everything, alternative), *notices):
        sys.stdout.write(f"{line}\n")
    if missing := [check.what for check in checks if check.verdict == "MISSING"]:
        raise ValueError(f"missing for {suite.suite}: {', '.join(missing)}; see above.")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    add_suite(parser, "toybox", ahead=True, released=True)
    return run(parser, arguments, doctor)


if __name__ == "__main__":
    sys.exit(main())
