"""Convert weights: from a training checkpoint, a distributed checkpoint (DCP) directory or a file, to a DCP
directory or a file.

examples:
  a run's EMA as the released file
    results/vbench/train/raven raven.pt
  its raw generator, for this program
    results/vbench/train/raven raven.safetensors --key generator
  one checkpoint, as Self Forcing's loader wants it
    results/vbench/train/raven/states/0000050 sf.pt --layout generator_ema
  CM-GRPO's adapter alone
    results/vbench/train/cm_grpo lora.safetensors --flavour adapter --base raven.safetensors
  CM-GRPO folded into one model
    results/vbench/train/cm_grpo merged.pt --flavour merged
  a released file as a DCP directory to start from
    raven_model.pt raven_dcp

The output's name says what is written: .safetensors (with a header: model size, alpha, an adapter's base),
.pt or .pth (plain tensors that torch.load opens with weights_only=True), or no ending for a DCP directory
(with the same header in header.json). Nothing is ever overwritten. Bits and dtypes stay as they are; only
merging computes, in float32. <output>.json beside it says what it is, from what it was made, and the hashes
of both.
"""

import json
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from evaluation.command import command, run
from evaluation.files import file_sha256, write_text
from models.checkpoints.containers import tensors_sha256, weights_sha256
from models.checkpoints.convert import (
    FLAVOURS,
    LAYOUTS,
    WITHOUT_ADAPTER,
    Flavour,
    check_base,
    check_layout,
    container_of,
    header_of,
    open_source,
    to_flavour,
    write_weights,
)

log = logging.getLogger("convert")


def convert_weights(
    source: Path,
    output: Path,
    *,
    flavour: Flavour | None = None,
    key: str | None = None,
    layout: str = "flat",
    base: Path | None = None,
    alpha: float | None = None,
    like: Path | None = None,
) -> int:
    """Write `output` from `source`, and <output>.json; returns the number of tensors.

    flavour: None for the source's own; the other arguments are those of `open_source`. Raises FileExistsError
    if there is an output already; FileNotFoundError and ValueError as models/checkpoints/convert.py does.
    """
    kind, manifest = container_of(output), output.with_name(f"{output.name}.json")
    for path in (output, manifest):
        if path.exists() or path.is_symlink():
            raise FileExistsError(
                f"{path} exists, and nothing is overwritten; remove it or choose another name."
            )
    held = open_source(source, key=key, base=base, alpha=alpha, like=like)
    wanted = flavour or held.flavour
    check_layout(layout, kind, wanted)
    if base is not None and held.flavour != "adapter":
        if wanted != "adapter":
            raise ValueError(
                f"{wanted} weights of {held.where} need no base from elsewhere; leave {base} out."
            )
        check_base(held)
    folder = output.parent
    base_name = None if held.base is None else _seen_from(folder, held.base)
    header = {} if kind == "torch" else header_of(held, wanted, base_name)
    state = to_flavour(held, wanted)
    write_weights(output, state, header=header, layout=layout)
    dtypes = Counter(str(value.dtype).removeprefix("torch.") for value in state.values())
    beneath = None if held.base is None else _file(held.base, folder)
    about = {
        "file": output.name,
        "sha256": file_sha256(output) if output.is_file() else None,
        "flavour": wanted,
        "layout": layout if kind == "torch" else kind,
        "config": None if held.config is None else held.config.to_dict(),
        "lora_alpha": None if wanted in WITHOUT_ADAPTER else held.alpha,
        "tensors": len(state),
        "dtypes": dict(sorted(dtypes.items())),
        "tensors_sha256": tensors_sha256(state),
        "from": _file(Path(held.where), folder),
        "base": beneath,
    }
    write_text(manifest, json.dumps(about, indent=1) + "\n")
    log.info("%s: %s from %s, %d tensors", output, wanted, held.where, len(state))
    return len(state)


def _file(path: Path, folder: Path) -> dict[str, str]:
    """Weights as a manifest in `folder` names them: path and hash (of a directory, of its tensors)."""
    return {"path": _seen_from(folder, path), "sha256": weights_sha256(path)}


def _seen_from(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("source", type=Path, help="a run, one of its states/, a DCP directory, or a file")
    parser.add_argument("output", type=Path, help="what to write; see above")
    parser.add_argument(
        "--flavour",
        choices=FLAVOURS,
        help=(
            "full: a model without adapter; adapter; bundle: base and adapter; merged: adapter folded in; "
            "base: without its adapter (default: as the source)"
        ),
    )
    parser.add_argument(
        "--key",
        help=(
            "generator or generator_ema of a training checkpoint (default: generator_ema), or the level of "
            "a file that has several"
        ),
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, default="flat", help="nesting and names of a torch file (default: flat)"
    )
    parser.add_argument(
        "--base", type=Path, help="weights beneath an adapter (default: what the adapter's header names)"
    )
    parser.add_argument("--alpha", type=float, help="LoRA alpha, where the source does not say it")
    parser.add_argument(
        "--like",
        type=Path,
        help="weights that this program wrote, of the same size, where the source does not show its own",
    )
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is what is meant
    return run(parser, arguments, lambda flags: convert_weights(**vars(flags)))


if __name__ == "__main__":
    sys.exit(main())
