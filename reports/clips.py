"""Which clips go into the page, as data: URIs under a size budget, and what was left out. Reads files, writes none."""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.records import Clip, Prompt, clip_id

OVERSIZE = 4  # times the median clip of a prompt: noise does not compress, one such row would fill the budget
OVERSIZE_PROMPTS = 4  # so many prompts show such a row all the same
SAMPLE = 0  # same index for all rows, so all clips of a prompt start from the same noise


@dataclass(frozen=True, slots=True)
class EmbeddedPrompt:
    """A prompt whose clips are in the page: row -> base64 of its mp4."""

    prompt: Prompt
    clips: dict[str, str]


@dataclass(frozen=True, slots=True)
class Gallery:
    """embedded: prompts in the page; left_out: ids that did not fit; without_clips: ids no row has a file of.

    oversize: rows whose clips are far larger than the others and are shown with the first few prompts only;
    size: bytes of base64; fps: of the clips.
    """

    embedded: tuple[EmbeddedPrompt, ...]
    left_out: tuple[str, ...]
    without_clips: tuple[str, ...]
    oversize: tuple[str, ...]
    size: int
    fps: int


def spread(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts in turn from every set of dimensions, so that any first few show every kind."""
    kinds: dict[tuple[str, ...], list[Prompt]] = {}
    for prompt in prompts:
        kinds.setdefault(tuple(sorted(prompt.dimensions)), []).append(prompt)
    longest = max((len(found) for found in kinds.values()), default=0)
    return [found[turn] for turn in range(longest) for found in kinds.values() if turn < len(found)]


def embed(
    results_dir: Path, prompts: Sequence[Prompt], manifests: Mapping[str, Sequence[Clip]], budget: int
) -> Gallery:
    """Clips of sample 0 of as many prompts as fit `budget` bytes of base64: all rows of a prompt (but oversized ones) or none.

    manifests: row -> its clips. A file's bytes must have the manifest's sha256; raises ValueError naming the clip if not.
    """
    known = {row: {clip.clip_id: clip for clip in clips} for row, clips in manifests.items()}
    embedded: list[EmbeddedPrompt] = []
    left_out: list[str] = []
    without: list[str] = []
    oversize: set[str] = set()
    size = 0
    for prompt in spread(prompts):
        name = clip_id(prompt.id, SAMPLE)
        found: dict[str, bytes] = {}
        for row, clips in known.items():
            path = results_dir / "clips" / row / "mp4" / f"{name}.mp4"
            if name in clips and path.is_file():
                found[row] = path.read_bytes()
                if hashlib.sha256(found[row]).hexdigest() != clips[name].sha256:
                    raise ValueError(
                        f"Clip {name} of row {row} is not the file its manifest names; sample and check it again."
                    )
        if len(embedded) >= OVERSIZE_PROMPTS and found:
            limit = OVERSIZE * statistics.median(map(len, found.values()))
            large = {row for row, content in found.items() if len(content) > limit}
            oversize |= large
            found = {row: content for row, content in found.items() if row not in large}
        cost = sum(4 * ((len(content) + 2) // 3) for content in found.values())
        if not found:
            without.append(prompt.id)
        elif left_out or size + cost > budget:
            left_out.append(prompt.id)
        else:
            size += cost
            encoded = {row: base64.b64encode(content).decode("ascii") for row, content in found.items()}
            embedded.append(EmbeddedPrompt(prompt, encoded))
    rates = {clip.fps for clips in manifests.values() for clip in clips}
    return Gallery(
        tuple(embedded),
        tuple(left_out),
        tuple(without),
        tuple(sorted(oversize)),
        size,
        max(rates, default=16),
    )
