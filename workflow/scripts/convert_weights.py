"""Convert weights: from a training checkpoint, a distributed checkpoint (DCP) directory or a file, to a DCP
directory or a file.

examples:
  a run's moving average as the released file      results/vbench/train/raven raven.pt
  its raw generator, for this program              results/vbench/train/raven raven.safetensors --key
  generator one checkpoint, as Self Forcing's loader wants   results/vbench/train/raven/states/0000050 sf.pt
  --layout generator_ema raw generator and moving average in one file     results/vbench/train/raven both.pt
  --layout both CM-GRPO's adapter alone                          results/vbench/train/cm_grpo lora.safetensors
  --flavour adapter --base raven.safetensors CM-GRPO folded into one model
  results/vbench/train/cm_grpo merged.pt --flavour merged a released file as a DCP directory to start from
  raven_model.pt raven_dcp

The output's name says what is written: .safetensors (with a header: model size, alpha, an adapter's base),
.pt or .pth (plain tensors that torch.load opens with weights_only=True), or no ending for a DCP directory
(with the same header in header.json). Nothing is ever overwritten. Bits and dtypes stay as they are; only
merging computes, in float32. <output>.json beside it says what it is, from what it was made, and the hashes
of both.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from collections import Counter
from pathlib import Path

from evaluation.files import file_sha256, write_text
from models.checkpoints.containers import tensors_sha256, weights_sha256
from models.checkpoints.convert import (
    FLAVOURS,
    LAYOUTS,
    PLAIN,
    Flavour,
    check_base,
    check_layout,
    header_of,
    kind_of,
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
    """Write `output` from `source`, and <output>.json; returns the number of tensors. flavour None: the
    source's own. Others: see `open_source`.

    Raises FileExistsError if there is an output already; FileNotFoundError and ValueError as
    models/checkpoints/convert.py does.
    """
    kind, manifest = kind_of(output), output.with_name(f"{output.name}.json")
    for path in (output, manifest):
        if path.exists() or path.is_symlink():
            raise FileExistsError(
                f"{path} exists, and nothing is overwritten; remove it or choose another name."
            )
    levels = LAYOUTS[layout].levels if layout in LAYOUTS else ()
    if len(levels) > 1 and key is not None:
        raise ValueError(
            f"Layout {layout!r} takes {' and '.join(levels)} of the source; leave the key {key!r} out."
        )
    sources = [
        open_source(source, key=one, base=base, alpha=alpha, like=like)
        for one in (levels if len(levels) > 1 else (key,))
    ]
    held = sources[0]
    wanted = flavour or held.flavour
    check_layout(layout, kind, wanted)
    if base is not None and held.flavour != "adapter":
        if wanted != "adapter":
            raise ValueError(
                f"{wanted} weights of {held.where} need no base from elsewhere; leave {base} out."
            )
        check_base(held)
    name = _seen_from(output.parent, held.base)
    header = {} if kind == "torch" else header_of(held, wanted, name)
    states = [to_flavour(one, wanted) for one in sources]
    write_weights(output, states, header=header, layout=layout)
    about = {
        "file": output.name,
        "sha256": file_sha256(output) if output.is_file() else None,
        "flavour": wanted,
        "layout": layout if kind == "torch" else kind,
        "config": None if held.config is None else held.config.to_dict(),
        "lora_alpha": None if wanted in PLAIN else held.alpha,
        "base": None if wanted != "adapter" else _file(held.base, output.parent),
        "weights": [
            {
                "level": level,
                "tensors": len(state),
                "dtypes": dict(
                    sorted(Counter(str(v.dtype).removeprefix("torch.") for v in state.values()).items())
                ),
                "tensors_sha256": tensors_sha256(state),
                "from": _file(Path(one.where), output.parent),
                "beneath": None
                if one.base is None or wanted == "adapter"
                else _file(one.base, output.parent),
            }
            for level, state, one in zip(levels or (None,), states, sources, strict=True)
        ],
    }
    write_text(manifest, json.dumps(about, indent=1) + "\n")
    log.info("%s: %s from %s, %d tensors", output, wanted, held.where, sum(map(len, states)))
    return sum(map(len, states))


def _file(path: Path | None, folder: Path) -> dict[str, str | None] | None:
    """A file of weights as a manifest in `folder` names it: where it lies, and its hash (of a directory: of
    its tensors).
    """
    return None if path is None else {"path": _seen_from(folder, path), "sha256": weights_sha256(path)}


def _seen_from(folder: Path, base: Path | None) -> str | None:
    return None if base is None else Path(os.path.relpath(base, folder)).as_posix()


def main() -> None:
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m workflow.scripts.convert_weights",
        description=about,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="a run, one of its states/, a DCP directory, or a file")
    parser.add_argument("output", type=Path, help="what to write; see below")
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
        "--like", type=Path, help="weights of ours of the same size, where the source does not show it"
    )
    flags = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is what is meant
    try:
        convert_weights(**vars(flags))
    except (ValueError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
