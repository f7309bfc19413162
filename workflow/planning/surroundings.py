"""What every process that is started here finds in its environment, whatever shell or container it runs in.

Standard library only: the command raven-bench reads it before anything else.
"""

import getpass
import os
import sys
from pathlib import Path

OWN_HOME = ".snakemake/home"


def settle_surroundings(root: Path) -> None:
    """Let `python -m` be the Python that runs this, and find our modules; let libraries have a home.

    PYTHONSAFEPATH would hide the modules in the working directory. Containers often have no home, or none
    that can be written to, where Snakemake and others keep caches: they get one below `root`. Users of theirs
    often have no name, which Snakemake asks for: it becomes their number.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ.pop("PYTHONSAFEPATH", None)
    if not os.access(os.path.expanduser("~"), os.W_OK | os.X_OK):
        home = root / OWN_HOME
        home.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["LOGNAME"] = str(os.getuid())


def keep_freed_memory() -> None:
    """Let the C library keep what a process frees for its next tensors, for what the user has not set.

    Networks on a CPU free and take megabytes at every operation. Given back to the system, these are cleared
    again page by page, a tenth of the processor's time. Read by glibc, which allows 32 MiB at most for blocks
    that it keeps.
    """
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**25))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**30))
