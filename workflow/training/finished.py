"""What a finished training hands on: its weights, held to what train.json says of them."""

from pathlib import Path
from typing import NamedTuple

from evaluation.records import TrainManifest, read_json
from models.checkpoints.containers import tensors_sha256
from models.checkpoints.convert import WeightsSource, open_source


class Trained(NamedTuple):
    """A finished training: its record, and the EMA that it ends with."""

    manifest: TrainManifest
    source: WeightsSource


def open_trained(train: Path) -> Trained:
    """The EMA of a trained row's last checkpoint, as it was when train.json was written.

    Raises FileNotFoundError for a training that is not finished, ValueError if a file of the checkpoint
    changed, or if it is of another iteration or holds other tensors than train.json says.
    """
    record = train / "train.json"
    advice = f"remove {record} and run again: training goes on from its newest whole checkpoint"
    manifest = read_json(TrainManifest, record)
    try:
        source = open_source(train)
    except (ValueError, OSError) as error:
        raise ValueError(f"{error} To mend it, {advice}.") from error
    if manifest.name != train.resolve().name:
        raise ValueError(
            f"{record} is that of the row {manifest.name}, expected {train.resolve().name}; {advice}."
        )
    if source.iteration != manifest.step:
        raise ValueError(
            f"{source.where} is of iteration {source.iteration}, but {record} of {manifest.step}; {advice}."
        )
    if (found := tensors_sha256(source.state)) != manifest.tensors_sha256:
        raise ValueError(
            f"{source.where} holds tensors of sha256 {found}, but {record} says {manifest.tensors_sha256}; "
            f"one of the two was changed, so {advice}."
        )
    return Trained(manifest, source)
