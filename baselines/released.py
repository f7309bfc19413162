"""A baseline's released weights as its YAML describes them, ready for models/checkpoints/released.py to check
and open.
"""

from pathlib import Path

from baselines.spec import Baseline
from models.checkpoints.released import Adapter, Release


def release_of(baseline: Baseline, weights: Path) -> Release:
    """Where a baseline's released files lie, and what they must be.

    weights: the fetched file, resources/weights/<row>/<name>; the adapter lies beside it, and files that are
    no student (the bidirectional model, RAVEN's initialisation) in the folders next to it. An adapter with
    the weights' own file name is inside them (a bundle).
    """
    folder = weights.parent
    return Release(
        path=weights,
        key=baseline.weights.key,
        adapter=adapter_of(baseline, folder),
        published_as=baseline.weights.file,
        not_these={
            "the bidirectional Wan2.1 model": folder.parent / "wan/diffusion_pytorch_model.safetensors",
            "an initialisation checkpoint": folder.parent / "causal_forcing/causal_ode.pt",
        },
    )


def adapter_of(baseline: Baseline, folder: Path) -> Adapter | None:
    """The baseline's adapter, or None if it has none."""
    adapter = baseline.adapter
    if adapter is None:
        return None
    return Adapter(
        path=None if adapter.file == baseline.weights.file else folder / Path(adapter.file).name,
        key=adapter.key,
        rank=adapter.rank,
        alpha=adapter.alpha,
        tensors=adapter.tensors,
        targets=adapter.targets,
    )
