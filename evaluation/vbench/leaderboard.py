"""The zip that VBench's leaderboard takes, an offline checker of anybody's, and totals of any results.

A zip made by several official processes passes too: its rows come in another order, and three of its scores
are other averages (reduce.py).
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.dimensions import NAMES
from evaluation.vbench.reduce import official_score, several_process_score

ROWS = {
    "subject_consistency": 360, "background_consistency": 430, "temporal_flickering": 375,
    "motion_smoothness": 360, "dynamic_degree": 360, "aesthetic_quality": 465, "imaging_quality": 465,
    "object_class": 395, "multiple_objects": 410, "human_action": 500, "color": 425,
    "spatial_relationship": 420, "scene": 430,
    "appearance_style": 450, "temporal_style": 500, "overall_consistency": 465,
}  # fmt: skip
"""Clips of a dimension in the standard suite, 5 a prompt (evaluation/vbench/README.md#prompts-and-clips)."""

MAY_HAVE_FEWER = ("temporal_flickering", "color")
"""Clips that the static filter does not keep, and clips in which no colour is seen, are not counted."""


def leaderboard_zip(results: Mapping[str, str]) -> bytes:
    """The zip that VBench's leaderboard takes: one <dimension>_eval_results.json for each of the sixteen,
    same bytes for same results.

    results: official JSON text by dimension. Raises ValueError unless it passes `check_leaderboard`.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            if name in results:
                entry = zipfile.ZipInfo(f"{name}_eval_results.json", (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, results[name])
    if errors := check_leaderboard(buffer.getvalue()):
        raise ValueError(
            f"The leaderboard's zip would not be complete: {'; '.join(errors[:5])}; score what is missing."
        )
    return buffer.getvalue()


def check_leaderboard(content: bytes) -> list[str]:
    """What is wrong with a submission, one phrase each, read as VBench's scripts/cal_final_score.py reads it;
    empty if nothing is.

    That script takes every JSON of the zip, a later one in place of an earlier, and counts a dimension that
    is missing as 0.
    """
    errors: list[str] = []
    scores: dict[str, float] = {}
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        return [f"it is no zip ({error})"]
    with archive:
        for member in archive.namelist():
            if Path(member).name != member or not member.endswith(".json"):
                errors.append(f"{member!r} is no JSON at the top level")
                continue
            try:
                read = json.loads(archive.read(member), parse_constant=_refuse_constant)
            except ValueError as error:
                errors.append(f"{member} is no strict JSON ({error})")
                continue
            if not isinstance(read, dict):
                errors.append(f"{member} is no result (a list of prompts, perhaps)")
                continue
            for name, value in read.items():
                if name in scores:
                    errors.append(f"{name} comes twice")
                if wrong := _error_of(name, value):
                    errors.append(f"{name} {wrong}")
                else:
                    scores[name] = value[0]
    return errors + [f"{name} is missing" for name in NAMES if name not in scores]


def official_scores(path: Path) -> dict[str, float]:
    """The score of each dimension (a fraction) in a zip, a folder or a file of VBench's results.

    Any JSON that holds `{"<dimension>": [score, ...]}` counts, under any name; others are passed over.
    Raises FileNotFoundError, or ValueError if nothing counts, a score is no number, or two files disagree.
    """
    scores: dict[str, float] = {}
    origin: dict[str, str] = {}
    for name, content in _json_files(path):
        try:
            read = json.loads(content)
        except ValueError as error:
            raise ValueError(f"{path}: {name} is no JSON ({error}); take it out or make it again.") from error
        for dimension, value in read.items() if isinstance(read, dict) else ():
            if dimension not in NAMES:
                continue
            score = value[0] if isinstance(value, list) and value else value
            if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
                raise ValueError(f"{path}: the score of {dimension} in {name} is {score!r}, not a number.")
            if scores.setdefault(dimension, score) != score:
                raise ValueError(
                    f"{path}: {dimension} is {scores[dimension]} in {origin[dimension]} and {score} in "
                    f"{name}; keep the results of one run."
                )
            origin.setdefault(dimension, name)
    if not scores:
        raise ValueError(
            f'{path} holds no result of VBench; expected JSON files with {{"<dimension>": [score, ...]}}.'
        )
    return scores


def _json_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every JSON file of a zip or a folder, or of the one file."""
    if path.is_dir():
        for file in sorted(path.glob("*.json")):
            yield file.name, file.read_bytes()
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                if member.endswith(".json") and not member.startswith("__MACOSX"):
                    yield member, archive.read(member)
    else:
        yield path.name, path.read_bytes()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _error_of(name: str, value: Any) -> str | None:
    if name not in NAMES:
        return "is no dimension of VBench"
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
        return "is not [score, rows]"
    score, rows = value
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return f"has the score {score!r}"
    if not rows or not all(
        isinstance(row, dict) and {"video_path", "video_results"} <= row.keys() for row in rows
    ):
        return "has no rows, or rows without video_path and video_results"
    doubled = len(rows) - len({Path(row["video_path"]).name for row in rows})
    if doubled:
        return f"counts {doubled} clips twice"
    exact, fewer = ROWS[name], name in MAY_HAVE_FEWER
    if len(rows) != exact and not (fewer and len(rows) < exact):
        return f"has {len(rows)} rows, the standard suite has {'at most ' if fewer else ''}{exact}"
    try:
        again = [official_score(name, rows), several_process_score(name, rows)]
    except (KeyError, TypeError, ValueError) as error:
        if name != "subject_consistency" or not isinstance(error, KeyError):
            return f"has rows that give no score ({error})"
        again = [several_process_score(name, rows)]  # the package's own rows have no sums
    if not any(math.isclose(score, one, rel_tol=1e-6, abs_tol=1e-9) for one in again):
        return f"has the score {score!r}, its rows give {again[0]!r}"
    return None
