"""temporal_style and overall_consistency by another text than the one that names the clips."""

from __future__ import annotations

from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

from evaluation.vbench.worker.watch import LoopWatch


def read_given_text(module: ModuleType, _: LoopWatch) -> None:
    """The package matches files by `prompt_en`, and then scores by the `prompt_scored` of each entry.

    CLIP's tokens of the text, of which the package makes no use, are cut instead of refused; ViCLIP's own
    tokenizer cuts its text anyway.
    """
    listed: Any = module.load_dimension_info

    def by_given_text(json_dir: str, **asked: str) -> Any:
        return listed(json_dir, **asked | {"lang": "scored"})

    module.load_dimension_info = by_given_text  # type: ignore[attr-defined]
    tokenize = partial(module.clip.tokenize, truncate=True)
    module.clip = SimpleNamespace(tokenize=tokenize)  # type: ignore[attr-defined]
