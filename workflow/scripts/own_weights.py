"""Prove weights of the user's own: hash them, and check what they hold name by name and shape by shape.

Needs no GPU and reads no numbers but to hash them. What is found is a record, which sampling verifies.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from baselines.strict_yaml import parse_strict
from evaluation.command import command, run
from evaluation.records import write_json
from models.checkpoints.lora import is_native_checkpoint
from models.checkpoints.open import base_said, check_model
from workflow.external.changed_files import remember
from workflow.fetching.own_weights import OwnRecord, OwnWeights, own_files_of
from workflow.fetching.verified import own_identity, own_sha256

log = logging.getLogger("own_weights")


def prove(weights: OwnWeights) -> OwnRecord:
    """The record of weights that can be sampled. Raises FileNotFoundError, and ValueError if they cannot."""
    path = Path(weights.path)
    if weights.base is None and (base := base_said(path)) is not None:
        weights = weights.model_copy(update={"base": str(base)})
    if is_native_checkpoint(path):
        weights = weights.model_copy(update={"like": None})
    found = check_model(path, **weights.model_dump(exclude={"path"}))
    files = {name: own_sha256(Path(name)) for name in (weights.path, weights.base) if name}
    identity = own_identity(weights, files)
    lines = tuple(one.summary() for one in found)
    return OwnRecord(weights=weights, files=files, sha256=identity, found=lines)


def write_proof(flags: argparse.Namespace) -> None:
    """Write the record, and what a later start compares the files with."""
    weights = parse_strict(flags.weights, OwnWeights, where="--weights")
    record = prove(weights)
    for line in record.found:
        log.info("%s", line)
    remember(flags.output.parent, [file for name in record.files for file in own_files_of(Path(name))])
    write_json(flags.output, record)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--weights", required=True, help="path, base, alpha, key and like, as JSON")
    parser.add_argument("--output", required=True, type=Path, help="record to write")
    return run(parser, arguments, write_proof)


if __name__ == "__main__":
    sys.exit(main())
