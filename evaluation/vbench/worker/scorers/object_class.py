"""Object class is the share of frames in which GRiT names the object.

VBench counts a frame in which anything fails as one without objects.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from evaluation.vbench.worker.watch import LoopWatch


def remember_errors(module: ModuleType, watch: LoopWatch) -> None:
    """Let every exception of the detector be remembered before the package swallows it.

    An IndexError of the package's own `[0][0]` on a frame without any detection is no error: it is how it
    says "nothing there".
    """
    captioning: Any = module.DenseCaptioning

    class Remembering(captioning):  # type: ignore[misc]
        def run_caption_tensor(self, frame: Any) -> Any:
            try:
                return super().run_caption_tensor(frame)
            except BaseException as error:
                watch.errors.append(f"{type(error).__name__} in {watch.clip}: {error}")
                raise

    module.DenseCaptioning = Remembering  # type: ignore[attr-defined]
