"""A verified clip a few frames at a time, for a function that may do with them what it likes."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from evaluation.records import Clip
from evaluation.verified_clips import open_verified_clip

PART_FRAMES = 16
"""Frames of a part, but for the last one, which may be shorter: 19 MB at 480x832."""


class ClipParts:
    """The frames of a clip in order, uint8 [t, H, W, 3] a part, once; two parts of memory.

    Nothing is read before the first part is asked for, and then only the very file of the manifest. Every
    part is an array of its own, so that one that is kept or written to changes no other. `finish` reads what
    nobody asked for, and finds an error that a function has passed over.
    """

    def __init__(self, clips: Path, clip: Clip) -> None:
        """clips: the row's folder."""
        self._frames = _frames_of(clips, clip)
        self.error: Exception | None = None
        """Why the clip cannot be read, once that is known."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> NDArray[np.uint8]:
        """Raises FileNotFoundError, or ValueError naming the clip, as `open_verified_clip` and its frames do,
        again at each further call.
        """
        if self.error is None:
            try:
                held = list(islice(self._frames, PART_FRAMES))
            except Exception as error:
                self.error = error
            else:
                if not held:
                    raise StopIteration
                return np.stack(held)
        raise self.error

    def finish(self) -> None:
        """Read the rest of the clip and let it go. Raises as a part does."""
        for _ in self:
            pass


def _frames_of(clips: Path, clip: Clip) -> Iterator[NDArray[np.uint8]]:
    yield from open_verified_clip(clips, clip).frames
