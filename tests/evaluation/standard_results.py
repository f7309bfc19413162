"""A made-up row of the standard suite, as large as the real one: 944 prompts, 6,810 scores, in VBench's own
form. No number here was measured.
"""

from typing import Any

import numpy as np

from evaluation.dimensions import BY_NAME, NAMES
from evaluation.records import Clip, FilteredSet, Inputs, Prompt, clip_id
from evaluation.static_filter import Judgement, filtered_set
from evaluation.vbench.leaderboard import leaderboard_zip
from evaluation.vbench.plan import entries_of, named_clips
from evaluation.vbench.reduce import official_score
from evaluation.vbench.results import official_json

RUNS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (75, ("temporal_flickering",)),
    (82, ("multiple_objects",)),
    (100, ("human_action",)),
    (72, ("subject_consistency", "dynamic_degree", "motion_smoothness")),
    (79, ("object_class",)),
    (85, ("color",)),
    (90, ("appearance_style",)),
    (100, ("temporal_style",)),
    (93, ("overall_consistency", "aesthetic_quality", "imaging_quality")),
    (86, ("scene", "background_consistency")),
    (84, ("spatial_relationship",)),
)
"""Lines of VBench's list that serve the same dimensions (evaluation/vbench/README.md#prompts-and-clips)."""
ZERO = "0" * 64
CEDILLA = "the fa\u00e7ade of a house, number 480"


def prompts(share: int = 1) -> list[Prompt]:
    """Prompts of the standard suite, or one of `share` of every run. One has a cedilla, one is long."""
    made: list[Prompt] = []
    for count, dimensions in RUNS:
        for _ in range(max(count // share, 1) if share > 1 else count):
            n, still = len(made), "temporal_flickering" in dimensions
            text = {1: "a very long red thing, " * 8 + "number 1", 3: CEDILLA}.get(
                n, f"a red thing, number {n}"
            )
            made.append(
                Prompt(
                    id=f"v{n:04d}", prompt=text, extended=f"{text}, on a meadow", dimensions=dimensions,
                    samples=25 if still else 5, keep=5 if still else None, facts={"lines": [n]},
                )
            )  # fmt: skip
    return made


def manifest(row: str, listed: list[Prompt]) -> list[Clip]:
    """A line for every clip."""
    return [
        Clip(
            clip_id=clip_id(p.id, sample), row=row, prompt_id=p.id, sample=sample,
            file=f"mp4/{p.id}-{sample}.mp4", sha256=ZERO, latents_sha256=None, noise="none",
            weights_sha256=None, settings_sha256=ZERO, batch_size=1, pixel_frames=81, height=480, width=832,
            fps=16,
        )
        for p in listed
        for sample in range(p.samples)
    ]  # fmt: skip


def filtered(row: str, listed: list[Prompt], inputs: Inputs) -> FilteredSet:
    """Every fifth sample is static, of every tenth still prompt only four are."""
    judged = {}
    for n, prompt in enumerate(p for p in listed if p.keep is not None):
        static = [s % 5 == 2 and not (n % 10 == 9 and s > 20) for s in range(25)]
        judged[prompt.id] = [Judgement(2.0 - still, still) for still in static]
    return filtered_set(row, inputs, listed, judged, 1.5)


def row_of(dimension: str, name: str, draw: np.random.Generator, shift: float) -> dict[str, Any]:
    """A row of VBench's own, with all that its rules read; clips have one length."""
    low = max(BY_NAME[dimension].lowest, 0.0)
    hits = int(draw.integers(4, 15) + round(10 * shift))
    value: Any = float(np.clip(draw.normal(0.6 + shift, 0.1), low, 1.0))
    row: dict[str, Any] = {"video_path": name}
    if dimension in ("object_class", "multiple_objects", "scene"):
        value = hits / 16
        row |= {"success_frame_count": hits, "frame_count": 16}
    elif dimension == "human_action":
        value = float(draw.random() < 0.7 + shift)
        row |= {"cor_num_per_video": int(value)}
    elif dimension == "dynamic_degree":
        value = bool(draw.random() < 0.6 + shift)
    elif dimension in ("subject_consistency", "background_consistency"):
        row |= {"video_sim": value * 80, "cnt_per_video": 80}
        value = value * 80 / 80
    elif dimension in ("spatial_relationship", "appearance_style"):
        frames = draw.normal(0.5 + shift, 0.1, 16).clip(0.01, 0.99).tolist()
        value = float(np.mean(frames))
        row |= {"frame_results": frames, "cur_sim": frames[-1]}
    elif dimension == "imaging_quality":
        value *= 100.0
    return {**row, "video_results": value}


def results(
    row: str, listed: list[Prompt], kept: FilteredSet, seed: int, shift: float = 0.0
) -> dict[str, list[dict[str, Any]]]:
    """Rows of all dimensions, as one process of VBench writes them; of some clips no colour is seen."""
    draw = np.random.default_rng(seed)
    clips = manifest(row, listed)
    found = {}
    for name in NAMES:
        names = [file for file, _ in named_clips(entries_of(name, listed, clips, kept.kept))]
        rows = [row_of(name, file, draw, shift) for file in names]
        found[name] = [r for n, r in enumerate(rows) if name != "color" or n % 17 != 3]
    return found


def texts(rows: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """VBench's JSON by dimension."""
    return {name: official_json(name, official_score(name, found), found) for name, found in rows.items()}


def zip_of(rows: dict[str, list[dict[str, Any]]]) -> bytes:
    """The leaderboard's zip."""
    return leaderboard_zip(texts(rows))
