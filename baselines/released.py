"""A baseline's released weights as its YAML describes them, ready for models/checkpoints/released.py to check
and open.
"""

from pathlib import Path

from baselines.native import Baseline
from baselines.spec import load_all
from models.checkpoints.released import Adapter, Memory, Release


def release_of(baseline: Baseline, weights: Path) -> Release:
    """Where a baseline's released files lie, and what they must be.

    weights: the fetched file, resources/weights/<row>/<name>; the adapter lies beside it, and files that it
    must not be (the bidirectional model, RAVEN's initialisation, other weights of the same repository) in the
    folders next to it. An adapter with the weights' own file name is inside them (a bundle).
    """
    folder = weights.parent
    if baseline.rollout.kind == "full":  # it is the bidirectional model
        return Release(
            path=weights, key=baseline.weights.key, published_as=baseline.weights.file, role="bidirectional"
        )
    repository = [
        other
        for other in load_all(Path(__file__).parent).values()
        if other.weights.repo == baseline.weights.repo
    ]
    return Release(
        path=weights,
        key=baseline.weights.key,
        adapter=adapter_of(baseline, folder),
        memory=Memory(**memory.model_dump()) if (memory := baseline.weights.memory) else None,
        published_as=baseline.weights.file,
        not_these={
            "the bidirectional Wan2.1 model": folder.parent / "wan/diffusion_pytorch_model.safetensors",
            "an initialisation checkpoint": folder.parent / "causal_forcing/causal_ode.pt",
            **{
                f"{other.title}'s file": folder.parent / other.name / Path(other.weights.file).name
                for other in repository
                if other.weights.file != baseline.weights.file
            },
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
