"""Data of the clips browser: what players.js and browse.js read. Pure: the record of a run in, JSON values
out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.metrics import Metric
from evaluation.records import Prompt, RowSummary
from reports.clips import WORST, Gallery, Scores


def browser_scores(
    prompts: Sequence[Prompt], scores: Scores, known: Mapping[str, Metric]
) -> dict[str, dict[str, Any]]:
    """dimension -> prompts (places in the list) and points (row -> normalised mean of each of them, None
    where not scored).
    """
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    names = dict.fromkeys(name for found in scores.values() for name in found)
    data = {}
    for name in names:
        measure = known[name]
        by_row = {row: found[name] for row, found in scores.items() if name in found}
        listed = sorted({prompt for found in by_row.values() for prompt in found}, key=place.__getitem__)
        points = {
            row: [
                round(measure.normalise(measure.factor * found[prompt].mean), 2) if prompt in found else None
                for prompt in listed
            ]
            for row, found in by_row.items()
        }
        data[name] = {"prompts": [place[prompt] for prompt in listed], "points": points}
    return data


def browser_index(
    prompts: Sequence[Prompt],
    rows: Sequence[RowSummary],
    known: Mapping[str, Metric],
    gallery: Gallery,
    scores: Scores,
) -> dict[str, Any]:
    """Everything but the clips and posters themselves. known: the measures, in the page's order."""
    having = set(gallery.without_clips)
    scored = browser_scores(prompts, scores, known)
    return {
        "fps": gallery.fps,
        "frames": gallery.pixel_frames,
        "width": gallery.width,
        "height": gallery.height,
        "preview": gallery.preview is not None,
        "worst": WORST,
        "rows": [{"row": row.row, "label": row.label, "files": row.row in gallery.rows} for row in rows],
        "absent": gallery.absent,
        "dimensions": {name: measure.title for name, measure in known.items() if name in scored},
        "scores": scored,
        "prompts": [
            {
                "id": prompt.id,
                "prompt": prompt.prompt,
                "extended": prompt.extended,
                "samples": prompt.samples,
                "files": prompt.id not in having,
                "clips": prompt.id in gallery.clips,
                "posters": prompt.id in gallery.posters,
            }
            for prompt in prompts
        ],
    }


def browser_blocks(prompts: Sequence[Prompt], gallery: Gallery) -> list[tuple[int, dict[str, Any]]]:
    """Place of each prompt that has clips or posters in the page, with them; a block is parsed when its
    prompt is shown.
    """
    return [
        (
            index,
            {"clips": gallery.clips.get(prompt.id, {}), "posters": gallery.posters.get(prompt.id, {})},
        )
        for index, prompt in enumerate(prompts)
        if prompt.id in gallery.clips or prompt.id in gallery.posters
    ]
