"""Aesthetic quality and background consistency give CLIP many frames at once: fewer when memory runs out."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from evaluation.vbench.worker.watch import LoopWatch, in_batches


def limit_batches(module: ModuleType, watch: LoopWatch) -> None:
    """Let the image tower of the CLIP that a dimension's module loads obey the watch's limit."""
    import torch

    load: Any = module.clip.load

    def load_limited(*arguments: Any, **options: Any) -> Any:
        model, preprocess = load(*arguments, **options)
        model.encode_image = in_batches(model.encode_image, watch, torch.cat)
        return model, preprocess

    module.clip = SimpleNamespace(load=load_limited)  # type: ignore[attr-defined]
