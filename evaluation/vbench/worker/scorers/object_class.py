"""Object class: share of frames in which GRiT names the object. VBench counts a frame in which anything fails
as one without objects.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from evaluation.vbench.worker.fast.grit import describe_whole_clips
from evaluation.vbench.worker.files import GRIT
from evaluation.vbench.worker.runner import Scorer, Watch, run


def remember_faults(module: ModuleType, watch: Watch) -> None:
    """Let every exception of the detector be remembered before the package swallows it.

    An IndexError of the package's own `[0][0]` on a frame without any detection is no fault: it is how it
    says "nothing there".
    """
    captioning: Any = module.DenseCaptioning

    class Remembering(captioning):  # type: ignore[misc]
        def run_caption_tensor(self, frame: Any) -> Any:
            try:
                return super().run_caption_tensor(frame)
            except BaseException as error:
                watch.faults.append(f"{type(error).__name__} in {watch.clip}: {error}")
                raise

    module.DenseCaptioning = Remembering  # type: ignore[attr-defined]


SCORER = Scorer("object_class", GRIT, remember_faults, speed_up=describe_whole_clips)

if __name__ == "__main__":
    sys.exit(run(SCORER))
