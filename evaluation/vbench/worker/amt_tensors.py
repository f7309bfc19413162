"""AMT's published file -> one that holds its tensors and nothing else, which the package can load safely.

    python -m evaluation.vbench.worker.amt_tensors SOURCE TARGET

The source's sha256 must have been proven. Objects that are no tensors are never built: see `read_state`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from evaluation.vbench.worker.networks import read_state


def save_tensors(source: Path, target: Path) -> None:
    """Write {"state_dict": tensors}, whole or not at all. Raises FileNotFoundError, or ValueError in one
    sentence.
    """
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    torch.save({"state_dict": read_state(source, key="state_dict")}, temporary)
    os.replace(temporary, target)


if __name__ == "__main__":
    try:
        save_tensors(Path(sys.argv[1]), Path(sys.argv[2]))
    except (OSError, ValueError) as fault:
        sys.exit(str(fault))
