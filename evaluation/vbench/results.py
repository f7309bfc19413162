"""Parts as the worker leaves them, joined: VBench's own JSON and our record."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.records import Clip, ClipScore, DimensionResult, Inputs, SecondScoring
from evaluation.selection import ScoredPrompt
from evaluation.vbench.plan import ScorePart, named_clips
from evaluation.vbench.reduce import official_clip_value, official_score, several_process_score

FRAME_VALUES = "frame_values"
"""Key of a row, which the package's own rows lack: a list with one value for each pixel frame of the clip, a
fraction, null where a frame has none. Their mean is the clip's value up to rounding.
"""


def joined_rows(
    parts: Sequence[ScorePart],
    entries: Sequence[ScoredPrompt],
    dimension: str,
    second: SecondScoring | None = None,
) -> list[dict[str, Any]]:
    """Rows of all parts in the order of one process.

    Raises ValueError, one message, if the parts are of different runs or do not hold exactly the clips of
    `entries`, each once.
    """
    expected = [name for name, _ in named_clips(entries)]
    found = [name for part in parts for name in part.names]
    where = f"The parts of {dimension}"
    runs = {(part.suite, part.row, part.dimension, part.second or "") for part in parts}
    if len(runs) != 1 or next(iter(runs))[2:] != (dimension, second or ""):
        raise ValueError(
            f"{where} are of {len(runs)} different runs or of another dimension ({sorted(runs)}); score "
            "them again."
        )
    if found != expected:
        wrong = sorted(set(expected) ^ set(found))
        raise ValueError(
            f"{where} hold {len(found)} clips, expected {len(expected)} in the order of the list"
            f"{f' (first that differs: {wrong[0]!r})' if wrong else ''}; score the parts again."
        )
    versions = [part.versions for part in parts if part.rows]
    if len({one.get("vbench") for one in versions}) > 1:
        raise ValueError(f"{where} were computed by different versions of vbench; score them again.")
    if len(backends := {one.get("backend") for one in versions}) > 1:
        raise ValueError(
            f"{where} were computed by different backends ({', '.join(sorted(map(str, backends)))}); score "
            "them again."
        )
    rows = [row for part in parts for row in part.rows]
    names = [row["video_path"] for row in rows]
    kept = set(names)
    if names != [name for name in expected if name in kept] or len(kept) != len(names):
        raise ValueError(
            f"{where} have rows of other clips than asked for, twice, or out of order; score the parts again."
        )
    if len(names) < len(expected) and dimension != "color":
        lost = next(name for name in expected if name not in kept)
        raise ValueError(
            f"{where} lack {len(expected) - len(names)} clips (first: {lost!r}); score the parts again."
        )
    return rows


def joined_versions(parts: Sequence[ScorePart]) -> dict[str, str]:
    """What computed the parts that have rows, by name; different values (of devices) joined by commas."""
    found: dict[str, set[str]] = {}
    for part in parts:
        for name, version in part.versions.items() if part.rows else ():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(values)) for name, values in sorted(found.items())}


def official_json(dimension: str, score: float, rows: Sequence[Mapping[str, Any]]) -> str:
    """VBench's own form, as save_json writes it: {dimension: [score, [row, ...]]}, no frame values."""
    plain = [{key: value for key, value in row.items() if key != FRAME_VALUES} for row in rows]
    return json.dumps({dimension: [score, plain]}, indent=4, allow_nan=False)


def dimension_result(
    suite: str,
    row: str,
    dimension: str,
    rows: Sequence[Mapping[str, Any]],
    entries: Sequence[ScoredPrompt],
    versions: Mapping[str, str],
    inputs: Inputs,
) -> DimensionResult:
    """Our record: our ids, values as fractions, the package's mean. versions: of `joined_versions`.

    Where clips differ in length or rate, values of frames are left out, since they are of different moments,
    and the mean counts every clip once: the package weighs clips by their frames in some dimensions, and its
    own JSON alone has that. Raises ValueError for a clip with values of more or fewer frames than it has.
    """
    by_name = dict(named_clips(entries))
    together = len({(clip.pixel_frames, clip.fps) for clip in by_name.values()}) <= 1
    scored = [(by_name[values["video_path"]], values) for values in rows]
    scores = [
        ClipScore(
            clip_id=clip.clip_id,
            prompt_id=clip.prompt_id,
            sample=clip.sample,
            value=official_clip_value(dimension, values),
            frame_values=_frame_values(dimension, clip, values) if together else None,
        )
        for clip, values in scored
    ]
    counted = {score.clip_id for score in scores}
    mean, several = official_score(dimension, rows), several_process_score(dimension, rows)
    if not together:
        mean = math.fsum(score.value for score in scores) / len(scores)
    return DimensionResult(
        suite=suite,
        row=row,
        dimension=dimension,
        inputs=inputs,
        kind="official",
        mean=mean,
        clips=tuple(scores),
        left_out=tuple(clip.clip_id for clip in by_name.values() if clip.clip_id not in counted),
        several_processes=several if abs(several - mean) > 1e-9 else None,
        versions=dict(versions),
    )


def _frame_values(dimension: str, clip: Clip, values: Mapping[str, Any]) -> tuple[float | None, ...] | None:
    found = values.get(FRAME_VALUES)
    if found is not None and len(found) != clip.pixel_frames:
        raise ValueError(
            f"{dimension} of clip {clip.clip_id} has values of {len(found)} frames, expected "
            f"{clip.pixel_frames}; score it again."
        )
    return found
