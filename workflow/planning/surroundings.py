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
