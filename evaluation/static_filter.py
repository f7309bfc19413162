"""The static filter: of the many samples of a still prompt, the first few that really stand still go on to
scoring.

VBench's order and convention: samples are tested in numeric order, the first `keep` static ones are kept;
with fewer, only those are kept and the gap is recorded as `short`, never filled. Its network (RAFT) is
replaced here by classical optical flow.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np

from evaluation.clips import Frames
from evaluation.records import FilteredPrompt, FilteredSet, Prompt

# Flow is measured between pixel frames STRIDE apart, in pixels of a picture GRID wide. Moving clips of the
# embedded world
# measure 1.8 to 2.4, still ones 0.0 (embedded.md 3); half a pixel separates them.
STRIDE = 4
GRID = 32
TOP_SHARE = 0.05
THRESHOLD = 0.5


def motion(frames: Frames) -> float:
    """Mean over frame pairs of the mean of the fastest 5 % of flow vectors; frames [T, H, W, 3] uint8, unit:
    1/32 of the width.
    """
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in frames[::STRIDE]]
    if len(grey) < 2:
        raise ValueError(f"motion needs at least {STRIDE + 1} frames, found {len(frames)}.")
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    fastest: list[float] = []
    for before, after in pairwise(grey):
        speed = np.linalg.norm(flow.calc(before, after, None), axis=-1).ravel()  # type: ignore[call-overload]
        count = max(1, round(TOP_SHARE * speed.size))
        fastest.append(float(np.partition(speed, -count)[-count:].mean()))
    width = int(frames.shape[2])
    return round(sum(fastest) / len(fastest) * GRID / width, 6)


def filter_prompt(prompt_id: str, values: Sequence[float], keep: int) -> FilteredPrompt:
    """Keep the first `keep` samples whose motion is below THRESHOLD, in numeric order; `short` counts what is
    lacking.
    """
    static = tuple(value < THRESHOLD for value in values)
    kept = tuple(index for index, still in enumerate(static) if still)[:keep]
    return FilteredPrompt(
        prompt_id=prompt_id, motion=tuple(values), static=static, kept=kept, short=keep - len(kept)
    )


def filtered_set(row: str, prompts: Sequence[Prompt], values: Mapping[str, Sequence[float]]) -> FilteredSet:
    """Which samples of each prompt are scored. `values`: prompt id -> motion per sample, for every prompt
    with a `keep`.
    """
    filtered = tuple(filter_prompt(p.id, values[p.id], p.keep) for p in prompts if p.keep is not None)
    outcome = {entry.prompt_id: entry.kept for entry in filtered}
    kept = {p.id: outcome[p.id] if p.id in outcome else tuple(range(p.samples)) for p in prompts}
    return FilteredSet(row=row, threshold=THRESHOLD, filtered=filtered, kept=kept)
