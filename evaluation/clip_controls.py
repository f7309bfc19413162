"""Control rows made from the clips of another row: what a scorer says of the same pictures once they lack
something. Any benchmark, any scorer, no GPU.

noise_of_<row>               the clip's colours in random places: what a score is worth that sees nothing
frozen_first_frame_of_<row>  its first frame throughout: wins consistency, must lose dynamic degree
shuffled_frames_of_<row>     its frames in random order: what time is worth to a dimension
shuffled_captions_of_<row>   the very file of another prompt: what ignoring the prompt is worth
Every clip depends on the row's clip, the list of prompts, prompt and sample only.
"""

import hashlib
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from evaluation.records import Prompt

SPOT = 8
"""Side of a spot of noise, in pixels. Finer noise cannot be compressed: 30 MB a clip of 832x480 in place of
one or two.
"""

SAME_TEXT, OTHER_SAMPLES, OTHER_DIMENSIONS = 1e9, 1e6, 1e3
"""Costs of one prompt's clip for another: never, never, and only if none of the same dimensions is left."""


def other_prompts(prompts: Sequence[Prompt]) -> dict[str, str]:
    """For each prompt id that of the prompt whose clips are shown instead, with the fewest words in common.

    Everyone's clips are shown once, for a prompt that has another text and as many samples, and the same
    dimensions where there is one: so that a dimension sees the same clips as before, under other prompts.
    Deterministic. Raises ValueError if there is no such order.
    """
    words = [set(re.findall(r"\w+", prompt.prompt.lower())) for prompt in prompts]
    column = {word: number for number, word in enumerate(sorted(set().union(*words)))}
    holds = np.zeros((len(prompts), len(column)))
    for place, found in enumerate(words):
        holds[place, [column[word] for word in found]] = 1

    def differ(values: Sequence[object]) -> NDArray[np.bool_]:
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
        known = np.array([numbers[value] for value in values])
        different: NDArray[np.bool_] = known[:, None] != known[None, :]
        return different

    cost = holds @ holds.T
    cost += OTHER_DIMENSIONS * differ([(tuple(sorted(p.dimensions)), p.keep) for p in prompts])
    cost += OTHER_SAMPLES * differ([prompt.samples for prompt in prompts])
    cost += SAME_TEXT * ~differ([prompt.prompt for prompt in prompts])
    rows, columns = linear_sum_assignment(cost)
    if cost[rows, columns].max() >= OTHER_SAMPLES:
        raise ValueError(
            f"The captions of {len(prompts)} prompts cannot be shuffled so that each has the clips of "
            "another text with as many samples; take the shuffled_captions rows out, or add prompts."
        )
    return {prompts[row].id: prompts[place].id for row, place in zip(rows, columns, strict=True)}


def altered_frames(
    kind: str, frames: Iterable[NDArray[np.uint8]], seed: str, scratch: Path | None = None
) -> Iterator[NDArray[np.uint8]]:
    """The control's frames from those of a clip, uint8 [H, W, 3] each. seed: a text that names the clip.

    One frame is in memory. Shuffled ones wait in a file without a name below `scratch`, by default where
    temporary files go.
    """
    if kind not in ("noise", "frozen_first_frame", "shuffled_frames"):
        raise ValueError(f"{kind!r} makes no frames; expected noise, frozen_first_frame or shuffled_frames.")
    return _altered(kind, iter(frames), seed, scratch)


def _altered(
    kind: str, frames: Iterator[NDArray[np.uint8]], seed: str, scratch: Path | None
) -> Iterator[NDArray[np.uint8]]:
    digest = hashlib.sha256(f"{kind}|{seed}".encode()).digest()
    draw = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    if kind == "frozen_first_frame":
        first = next(frames)
        yield first
        for _ in frames:
            yield first
    elif kind == "shuffled_frames":
        shapes = []
        with tempfile.TemporaryFile(dir=scratch) as waiting:
            for frame in frames:
                waiting.write(frame.tobytes())
                shapes.append(frame.shape)
            size = math.prod(shapes[0])
            for place in draw.permutation(len(shapes)):
                waiting.seek(int(place) * size)
                yield np.frombuffer(waiting.read(size), np.uint8).reshape(shapes[0])
    else:
        for frame in frames:
            spots = frame[::SPOT, ::SPOT]
            mixed = draw.permutation(spots.reshape(-1, 3)).reshape(spots.shape)
            yield mixed.repeat(SPOT, axis=0).repeat(SPOT, axis=1)[: frame.shape[0], : frame.shape[1]]
