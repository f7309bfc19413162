"""Which clips and posters go into the page under a size budget, and what is left out.

Posters come first, up to POSTER_SHARE of the budget: those of every dimension's and row's worst prompts, then
those of all rows of prompt after prompt. Clips take the rest: sample 0 of all rows of prompt after prompt,
then sample 1, and so on. Prompts come in turn from every set of dimensions, so that whatever fits shows every
kind; every second one at first is one on which the leading row and another differ most.
"""

import base64
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evaluation.dimensions import DIMENSIONS, QUALITY_SHARE, SEMANTIC_SHARE
from evaluation.metrics import Metric
from evaluation.records import Clip, Prompt, Rate, clip_id
from evaluation.verified_clips import clip_bytes
from reports.posters import PREVIEW_WIDTH, poster, preview

OVERSIZE = 4  # times the median clip of a prompt: noise does not compress, one such row would fill the budget
OVERSIZE_PROMPTS = 4  # so many prompts show such a row all the same
SAMPLE = 0  # same index for all rows, so all clips of a prompt start from the same noise
WORST_PROMPTS = 20  # in a gallery of the worst
POSTER_SHARE = 0.3  # of the budget
POSTER_BATCH = 64  # posters that are made before the budget is looked at again


class PromptScore(NamedTuple):
    """The score of one row, dimension and prompt."""

    mean: float
    """Mean over the prompt's scored clips: a fraction, or in a custom dimension's unit."""
    clips: int


PromptScores = Mapping[str, Mapping[str, Mapping[str, PromptScore]]]
"""row -> dimension -> prompt id -> score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """What the page shows of the clips. Files are in base64, sizes in bytes of base64."""

    rows: tuple[str, ...]
    """Rows that have clip files."""
    clips: dict[str, dict[str, dict[int, str]]]
    """prompt id -> row -> sample -> mp4."""
    posters: dict[str, dict[str, str]]
    """prompt id -> row -> WebP of sample 0."""
    left_out: tuple[str, ...]
    """Ids of prompts with clip files, none of which is in the page."""
    without_clips: tuple[str, ...]
    """Ids of prompts that no row has a clip file of."""
    absent: dict[str, tuple[str, ...]]
    """row -> clips of other prompts that have no file."""
    oversize: tuple[str, ...]
    """Rows whose clips are far larger than the others; only the first few prompts show them."""
    size: int
    posters_size: int
    preview: int | None
    """Width of the copies that stand for wider clips, None where there are none."""
    fps: Rate
    """Of the first clip, as the sizes below."""
    pixel_frames: int
    """0 where clips differ in length or rate, so that a player asks each for its own."""
    width: int
    height: int


class StoredClip(NamedTuple):
    """A clip file that is there, with the manifest's line for it."""

    folder: Path
    """Of the row."""
    clip: Clip

    def read(self) -> bytes:
        """Its bytes. Raises ValueError if they are not those that were checked and scored."""
        return clip_bytes(self.folder, self.clip)

    def poster(self) -> str:
        """Base64 of its poster."""
        return _base64(poster(self.read()))

    def embedded(self) -> str:
        """Base64 of the clip, or of a smaller copy of a wide one."""
        content = self.read()
        return _base64(preview(content) if self.clip.width > PREVIEW_WIDTH else content)


StoredClips = dict[str, dict[str, StoredClip]]
"""row -> clip id -> file."""


class Embedded(NamedTuple):
    """Clips that fit into the page; the fields are those of Gallery."""

    clips: dict[str, dict[str, dict[int, str]]]
    oversize: tuple[str, ...]
    size: int


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def interleaved(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Prompts in turn from every set of dimensions, so that any first few show every kind."""
    kinds: dict[tuple[str, ...], list[Prompt]] = {}
    for prompt in prompts:
        kinds.setdefault(tuple(sorted(prompt.dimensions)), []).append(prompt)
    longest = max((len(found) for found in kinds.values()), default=0)
    return [found[turn] for turn in range(longest) for found in kinds.values() if turn < len(found)]


def embed_order(prompts: Sequence[Prompt], widest: Sequence[str]) -> list[Prompt]:
    """The widest prompts in turn with those of `interleaved`, then the rest of these; each once."""
    by_id, others = {prompt.id: prompt for prompt in prompts}, interleaved(prompts)
    turns = [each for name, other in zip(widest, others, strict=False) for each in (by_id[name], other)]
    return list({prompt.id: prompt for prompt in [*turns, *others]}.values())


def total_weights() -> dict[str, float]:
    """How much each of the sixteen dimensions weighs in Total; 1 in all."""
    shares = {"quality": QUALITY_SHARE, "semantic": SEMANTIC_SHARE}
    within = {group: sum(d.weight for d in DIMENSIONS if d.group == group) for group in shares}
    return {d.name: shares[d.group] * d.weight / within[d.group] / sum(shares.values()) for d in DIMENSIONS}


def widest_prompts(rows: Sequence[str], scores: PromptScores, known: Mapping[str, Metric]) -> list[str]:
    """Of the first row with each other one: the prompt on which their totals differ most, each once.

    A prompt's total is the mean of its normalised dimensions as Total weighs them.
    """
    weights, found = total_weights(), []
    for other in rows[1:]:
        gaps: dict[str, list[tuple[float, float]]] = {}
        one, two = scores.get(rows[0], {}), scores.get(other, {})
        for name in one.keys() & two.keys() & weights.keys():
            points = known[name].scale * known[name].factor
            for prompt in one[name].keys() & two[name].keys():
                gap = points * (one[name][prompt].mean - two[name][prompt].mean)
                gaps.setdefault(prompt, []).append((weights[name], gap))
        sizes = {p: abs(sum(w * x for w, x in each) / sum(w for w, _ in each)) for p, each in gaps.items()}
        found += sorted(sizes, key=lambda prompt: (-sizes[prompt], prompt))[:1]
    return list(dict.fromkeys(found))


def poster_order(
    prompts: Sequence[Prompt], rows: Iterable[str], scores: PromptScores, less_is_better: Collection[str] = ()
) -> list[tuple[str, str]]:
    """(prompt id, row) of all posters, wanted ones first.

    First come the worst prompts of every row and dimension, then the second worst, and so on up to
    WORST_PROMPTS, then all rows of prompt after prompt. less_is_better: dimensions whose worst scores are the
    highest.
    """
    ends = []
    for row, found in scores.items():
        for dimension, values in found.items():
            sign = -1 if dimension in less_is_better else 1
            ordered = sorted((sign * score.mean, prompt) for prompt, score in values.items())
            ends.append([(prompt, row) for _, prompt in ordered[:WORST_PROMPTS]])
    worst = [cells[place] for place in range(WORST_PROMPTS) for cells in ends if place < len(cells)]
    names = list(rows)
    return list(
        dict.fromkeys([*worst, *((prompt.id, row) for prompt in interleaved(prompts) for row in names)])
    )


def find_stored_clips(results_dir: Path, manifests: Mapping[str, Sequence[Clip]]) -> StoredClips:
    """Clip files that are there, by row and clip; one listing of a folder a row."""
    found: StoredClips = {}
    for row, clips in manifests.items():
        folder = results_dir / "clips" / row / "mp4"
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        found[row] = {
            clip.clip_id: StoredClip(folder.parent, clip) for clip in clips if f"{clip.clip_id}.mp4" in names
        }
    return found


def embed_posters(
    sources: StoredClips, wanted: Sequence[tuple[str, str]], budget: int, pool: ThreadPoolExecutor
) -> tuple[dict[str, dict[str, str]], int]:
    """Posters of sample 0 in the order wanted until one does not fit, and their bytes."""
    posters: dict[str, dict[str, str]] = {}
    size = 0
    cells = [
        (prompt, row, source)
        for prompt, row in wanted
        if (source := sources.get(row, {}).get(clip_id(prompt, SAMPLE)))
    ]
    for first in range(0, len(cells), POSTER_BATCH):
        batch = cells[first : first + POSTER_BATCH]
        made = pool.map(StoredClip.poster, [source for _, _, source in batch])
        for (prompt, row, _), made_poster in zip(batch, made, strict=True):
            if size + len(made_poster) > budget:
                return posters, size
            size += len(made_poster)
            posters.setdefault(prompt, {})[row] = made_poster
    return posters, size


def _in_order(order: Sequence[Prompt]) -> Iterator[tuple[int, Prompt]]:
    """Sample 0 of every prompt, then sample 1 of those that have one, ..."""
    for sample in range(max((prompt.samples for prompt in order), default=0)):
        yield from ((sample, prompt) for prompt in order if sample < prompt.samples)


def embed_clips(
    sources: StoredClips, prompts: Sequence[Prompt], budget: int, pool: ThreadPoolExecutor
) -> Embedded:
    """Clips of prompt after prompt, all rows (but oversized ones) or none, until one prompt is too much."""
    clips: dict[str, dict[str, dict[int, str]]] = {}
    oversize: set[str] = set()
    size = turn = 0
    for sample, prompt in _in_order(prompts):
        name = clip_id(prompt.id, sample)
        there = {row: found[name] for row, found in sources.items() if name in found}
        if not there:
            continue
        made = dict(zip(there, pool.map(StoredClip.embedded, there.values()), strict=True))
        if turn >= OVERSIZE_PROMPTS:
            limit = OVERSIZE * statistics.median(map(len, made.values()))
            large = {row for row, content in made.items() if len(content) > limit}
            oversize |= large
            made = {row: content for row, content in made.items() if row not in large}
        cost = sum(map(len, made.values()))
        if size + cost > budget:
            break
        size += cost
        turn += 1
        for row, content in made.items():
            clips.setdefault(prompt.id, {}).setdefault(row, {})[sample] = content
    return Embedded(clips, tuple(sorted(oversize)), size)


def embed(
    results_dir: Path,
    prompts: Sequence[Prompt],
    manifests: Mapping[str, Sequence[Clip]],
    scores: PromptScores,
    budget: int,
    *,
    less_is_better: Collection[str] = (),
    widest: Sequence[str] = (),
    threads: int = 1,
) -> Gallery:
    """Posters and clips within `budget` bytes of base64, by the rule on top of this file.

    manifests: row -> its clips; less_is_better: see poster_order; widest: see embed_order. Raises ValueError
    naming the clip if a file does not have the manifest's sha256.
    """
    sources = find_stored_clips(results_dir, manifests)
    with ThreadPoolExecutor(threads) as pool:
        wanted = poster_order(prompts, manifests, scores, less_is_better)
        posters, posters_size = embed_posters(sources, wanted, round(budget * POSTER_SHARE), pool)
        embedded = embed_clips(sources, embed_order(prompts, widest), budget - posters_size, pool)
    having = {source.clip.prompt_id for found in sources.values() for source in found.values()}
    first = next((clip for clips in manifests.values() for clip in clips), None)
    alike = len({(clip.pixel_frames, clip.fps) for clips in manifests.values() for clip in clips}) == 1
    missing = {
        row: tuple(c.clip_id for c in clips if c.prompt_id in having and c.clip_id not in sources[row])
        for row, clips in manifests.items()
    }
    wide = first is not None and first.width > PREVIEW_WIDTH and bool(embedded.clips)
    return Gallery(
        rows=tuple(row for row, found in sources.items() if found),
        clips=embedded.clips,
        posters=posters,
        left_out=tuple(p.id for p in prompts if p.id in having and p.id not in embedded.clips),
        without_clips=tuple(p.id for p in prompts if p.id not in having),
        absent={row: names for row, names in missing.items() if names},
        oversize=embedded.oversize,
        size=embedded.size,
        posters_size=posters_size,
        preview=PREVIEW_WIDTH if wide else None,
        fps=first.fps if first else 16,
        pixel_frames=first.pixel_frames if first and alike else 0,
        width=first.width if first else 1,
        height=first.height if first else 1,
    )
