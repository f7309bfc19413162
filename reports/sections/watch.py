"""The clips side by side: the finder, the players, the galleries of the worst, and what players.js reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.metrics import Metric
from evaluation.records import Prompt
from evaluation.votes import FEW_VOTERS, run_id
from reports.clips import OVERSIZE_PROMPTS, WORST_PROMPTS, Gallery, PromptScores, total_weights
from reports.tables import is_made_here
from reports.view import View


def browser_scores(
    prompts: Sequence[Prompt], scores: PromptScores, known: Mapping[str, Metric]
) -> dict[str, dict[str, Any]]:
    """By dimension: prompts, as places in the list, and points: row -> their normalised means or None."""
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    data = {}
    for name in dict.fromkeys(name for found in scores.values() for name in found):
        metric = known[name]
        by_row = {row: found[name] for row, found in scores.items() if name in found}
        listed = sorted({prompt for found in by_row.values() for prompt in found}, key=place.__getitem__)
        points = {
            row: [
                round(metric.normalise(metric.factor * found[prompt].mean), 2) if prompt in found else None
                for prompt in listed
            ]
            for row, found in by_row.items()
        }
        data[name] = {"prompts": [place[prompt] for prompt in listed], "points": points}
    return data


def ballot_facts(view: View) -> dict[str, Any] | None:
    """What a votes file says of the run. None with fewer than two rows that can be voted on."""
    made = view.run.provenance["clips"]
    clips = {
        row.row: made[row.row]["manifest_sha256"]
        for row in view.ranked
        if row.row in made and row.kind != "results"
    }
    suite = view.run.settings.suite
    if sum(row in view.run.gallery.rows for row in clips) < 2:
        return None
    return {"suite": suite, "run": run_id(suite, clips), "clips": clips}


def browser_index(view: View) -> dict[str, Any]:
    """Everything that the script needs to know, but for the clips and posters themselves."""
    run, gallery = view.run, view.run.gallery
    scored = browser_scores(run.prompts, run.scores, view.known)
    return {
        "fps": gallery.fps,
        "frames": gallery.pixel_frames,
        "width": gallery.width,
        "height": gallery.height,
        "preview": gallery.preview is not None,
        "worst": WORST_PROMPTS,
        "rows": [{"row": row.row, "label": row.label, "files": row.row in gallery.rows} for row in view.rows],
        "absent": gallery.absent,
        "dimensions": {name: metric.title for name, metric in view.known.items() if name in scored},
        "scores": scored,
        "weights": {name: round(weight, 6) for name, weight in total_weights().items() if name in scored},
        "ballot": ballot_facts(view),
        "prompts": [
            {
                "id": prompt.id,
                "prompt": prompt.prompt,
                "extended": prompt.extended,
                "samples": prompt.samples,
                "files": prompt.id not in gallery.without_clips,
                "clips": prompt.id in gallery.clips,
                "posters": prompt.id in gallery.posters,
            }
            for prompt in run.prompts
        ],
    }


def browser_blocks(prompts: Sequence[Prompt], gallery: Gallery) -> list[tuple[int, dict[str, Any]]]:
    """Place of each prompt that has clips or posters in the page, with them.

    The script parses a block when it shows the prompt.
    """
    return [
        (index, {"clips": gallery.clips.get(prompt.id, {}), "posters": gallery.posters.get(prompt.id, {})})
        for index, prompt in enumerate(prompts)
        if prompt.id in gallery.clips or prompt.id in gallery.posters
    ]


def watch_section(view: View) -> dict[str, Any]:
    """What watch.html.j2 shows."""
    run = view.run
    scored = browser_scores(run.prompts, run.scores, view.known)
    return {
        "gallery": run.gallery,
        "made_here": is_made_here(run.table),
        "dimensions": list(view.known.values()),
        "player_rows": [row for row in view.rows if run.scores.get(row.row) or row.row in run.gallery.rows],
        "ballot": ballot_facts(view) is not None,
        "votes": run.votes,
        "few_voters": run.votes is not None and len(run.votes.voters) < FEW_VOTERS,
        "no_strengths": run.votes is not None and all(row.strength is None for row in run.votes.rows),
        "labels": {row.row: row.label for row in view.rows},
        "titles": {name: metric.title for name, metric in view.known.items()},
        "clip_rows": [row for row in view.rows if run.scores.get(row.row)],
        "clip_counts": {name: len(found["prompts"]) for name, found in scored.items()},
        "shared_noise": len(run.noises) == 1 and run.noises[0].startswith("portable:"),
        "oversize_prompts": OVERSIZE_PROMPTS,
        "worst": WORST_PROMPTS,
    }
