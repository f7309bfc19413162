"""The zip that VBench's leaderboard takes, an offline checker of anybody's, and totals of any results.

A zip made by several official processes passes too: its rows come in another order, and three of its scores
are other averages (reduce.py).
"""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from evaluation.dimensions import BY_NAME, NAMES
from evaluation.files import load_json, open_zip, zip_errors
from evaluation.vbench.reduce import official_clip_value, official_score, several_process_score

ROWS = {
    "subject_consistency": 360, "background_consistency": 430, "temporal_flickering": 375,
    "motion_smoothness": 360, "dynamic_degree": 360, "aesthetic_quality": 465, "imaging_quality": 465,
    "object_class": 395, "multiple_objects": 410, "human_action": 500, "color": 425,
    "spatial_relationship": 420, "scene": 430,
    "appearance_style": 450, "temporal_style": 500, "overall_consistency": 465,
}  # fmt: skip
"""Clips of a dimension in the standard suite, 5 a prompt (evaluation/vbench/README.md#prompts-and-clips)."""

MAX_JSON_MB = 64
"""Of one file of a submission; the largest official ones have less than one."""
SPARE = 4e-3
"""How far float16 cosines go beyond the ends of the scale (evaluation/vbench/worker/runner.py, ROUNDING)."""
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

    That script takes every JSON object at the top of the zip or one folder below, a later one in place of an
    earlier, and counts a dimension that is missing as 0. It passes over what begins with "." or "__".
    """
    errors: list[str] = []
    scores: dict[str, float] = {}
    deeper: list[str] = []
    try:
        with open_zip(content, "it") as archive:
            for member in _json_members(archive):
                if len(PurePosixPath(member.filename).parts) > 2:
                    deeper.append(member.filename)
                    continue
                try:
                    read = _read_member(archive, member)
                except ValueError as error:
                    errors.append(str(error).rstrip("."))
                    continue
                for key, value in read.items() if isinstance(read, dict) else ():
                    name = key.replace(" ", "_")
                    if name in scores:
                        errors.append(f"{name} comes twice")
                    if wrong := _error_of(name, value):
                        errors.append(f"{name if name in NAMES else repr(key[:80])} {wrong}")
                    else:
                        scores[name] = value[0]
    except ValueError as error:
        return [str(error).rstrip(".")]
    missing = [f"{name} is missing" for name in NAMES if name not in scores]
    if missing and deeper:
        missing[0] += f" (the leaderboard looks no deeper than one folder, and there is {deeper[0][:80]!r})"
    return errors + missing


def passed_over(content: bytes) -> list[str]:
    """Names in a zip that VBench's script does not read: what begins with "." or "__", what is no JSON, and
    what lies deeper than one folder. Raises ValueError for what is no zip.
    """
    with open_zip(content, "it") as archive:
        read = {m.filename for m in _json_members(archive) if len(PurePosixPath(m.filename).parts) <= 2}
        names = {member.filename for member in archive.infolist() if not member.is_dir()}
    return sorted(names - read)


def official_scores(path: Path) -> dict[str, float]:
    """The score of each dimension (a fraction) in a zip, a folder or a file of VBench's results.

    Any JSON that holds `{"<dimension>": [score, ...]}` counts, under any name; others are passed over.
    Raises FileNotFoundError, or ValueError if nothing counts, a score is no number, or two files disagree.
    """
    scores: dict[str, float] = {}
    origin: dict[str, str] = {}
    for name, read in _json_files(path):
        for key, value in read.items() if isinstance(read, dict) else ():
            if (dimension := key.replace(" ", "_")) not in NAMES:
                continue
            score = value[0] if isinstance(value, list) and value else value
            if wrong := _outside(dimension, score):
                raise ValueError(
                    f"{path}: the score of {dimension} in {name} {wrong}; keep VBench's own files."
                )
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


def _json_files(path: Path) -> Iterator[tuple[str, Any]]:
    """Name and content of every JSON file of a zip or a folder, or of the one file."""
    if path.is_file() and zipfile.is_zipfile(path):
        with open_zip(path, str(path)) as archive:
            for member in _json_members(archive):
                yield repr(member.filename[:80]), _read_member(archive, member)
    else:
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            yield file.name, load_json(file.read_bytes(), str(file))


def _json_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The JSON files of a zip by name, without hidden ones and those that macOS adds. At the top VBench's
    script reads what ends in `json`, with or without a dot.
    """
    named = {
        member.filename: member
        for member in archive.infolist()
        if member.filename.endswith(".json" if "/" in member.filename else "json")
    }
    return [named[name] for name in sorted(named) if not name.startswith((".", "__"))]


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """The JSON of a member of a zip. Raises ValueError with its name."""
    where = repr(member.filename[:80])
    if member.file_size > MAX_JSON_MB << 20:
        raise ValueError(
            f"{where} unpacks to {member.file_size >> 20} MiB, more than {MAX_JSON_MB}; take it out."
        )
    with zip_errors(where):
        content = archive.read(member)
    return load_json(content, where)


def _outside(dimension: str, score: Any) -> str | None:
    """What is wrong with a score, or None: no number, or none that the dimension can have."""
    lowest = BY_NAME[dimension].lowest
    if isinstance(score, bool) or not isinstance(score, int | float):
        return f"is {str(score)[:80]!r}, expected a number"
    if not lowest - SPARE <= score <= 1.0 + SPARE:
        return f"is {score:g}, expected {lowest:g} to 1"
    return None


def _error_of(name: str, value: Any) -> str | None:
    if name not in NAMES:
        return "is no dimension of VBench"
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
        return "is not [score, rows]"
    score, rows = value
    if wrong := _outside(name, score):
        return f"has a score that {wrong}"
    if not rows or not all(
        isinstance(row, dict) and isinstance(row.get("video_path"), str) and "video_results" in row
        for row in rows
    ):
        return "has no rows, or rows without video_path and video_results"
    doubled = len(rows) - len({PurePosixPath(row["video_path"]).name for row in rows})
    if doubled:
        return f"counts {doubled} clips twice"
    exact, fewer = ROWS[name], name in MAY_HAVE_FEWER
    if len(rows) != exact and not (fewer and len(rows) < exact):
        return f"has {len(rows)} rows, the standard suite has {'at most ' if fewer else ''}{exact}"
    try:
        values = [official_clip_value(name, row) for row in rows]
        again = [several_process_score(name, rows)]
        if name != "subject_consistency" or "video_sim" in rows[0]:  # the package's own rows have no sums
            again.insert(0, official_score(name, rows))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"has rows that give no score ({type(error).__name__}: {error})"
    for row, one in zip(rows, values, strict=True):
        if wrong := _outside(name, one):
            return f"has a row ({row['video_path'][-80:]!r}) whose value {wrong}"
    if not any(math.isclose(score, one, rel_tol=1e-6, abs_tol=1e-9) for one in again):
        return f"has the score {score!r}, its rows give {again[0]!r}"
    return None
