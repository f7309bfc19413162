"""Dry runs in processes forked from one that has Snakemake imported: that import is two thirds of their time.

A fork has nothing of ours but this file, so that it plans by the code of the project that it is given.
"""

import multiprocessing
import os
import sys
from pathlib import Path

import snakemake.cli

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


def dry_run(folder: Path, arguments: list[str], output: Path) -> int:
    """Run `snakemake -n` in a folder; the exit code. Both its streams go to the file `output`."""
    process = FORKS.Process(target=_dry_run, args=(folder, arguments, output))
    process.start()
    process.join(timeout=580)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"snakemake -n did not end within 580 s; see {output}")
    return process.exitcode


def _dry_run(folder: Path, arguments: list[str], output: Path) -> None:
    with output.open("w") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    os.chdir(folder)
    sys.argv = ["snakemake", *arguments]
    snakemake.cli.main(["-n", *arguments])
