"""Folders and zips of anybody's clips -> a suite that scores them: its file, rows, prompts, names of files.

Everything is looked at before a job starts: names (workflow/external/clip_names.py) and headers of clips.
"""

import hashlib
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.clip_reader import ClipError, look_at_clip
from evaluation.clips import ClipShape
from evaluation.dimensions import NAMES
from evaluation.files import load_json, one_line, open_zip, read_table, text_lines, utf8_text
from evaluation.prompt_lists import LIST_READERS, LIST_RULES, read_user_list
from evaluation.prompts import is_safe_name
from evaluation.records import Prompt, clip_id
from evaluation.suite_prompts import suite_prompts
from evaluation.text_only_dimensions import TEXT_ONLY
from evaluation.toybox.caption_facts import facts_of
from evaluation.toybox.prompt_kinds import DIMENSIONS_OF_KIND, prompt_kind
from evaluation.vbench.plan import SAMPLES_SEEN
from workflow.external.archive import zip_members
from workflow.external.clip_names import NamedClips, clips_by_name, id_of, is_video_name, stem_of
from workflow.planning.prompt_plan import STANDARD, benchmark_sha256
from workflow.planning.suite import LONG_SECONDS

NAMED_ERRORS = 5
LONGEST_ROW = 43
"""Characters of a row's name in front of its hash."""
LONGEST_TITLE = 100
"""Characters beyond which the title is the row's name, which is no other row's."""
FEWEST_FRAMES = {"toybox": 1, "vbench": 3}
"""Of a clip: motion smoothness predicts the frame between two others."""
RAFT_SIDE = 128
"""Pixels of a frame's smaller side below which RAFT, of dynamic degree and the static filter, gives no
numbers.
"""
MIXED_SEEN = {
    "toybox": "The checkers see each as 81 frames of 32x32 pixels, so that speed changes with length.",
    "vbench": "Each is scored as it is, so that size, length and rate are in its scores too: dynamic degree "
    "looks at about 8 frames a second and its limit grows with the size, consistencies fall with length, "
    "imaging quality follows size. Every clip counts once; the means in VBench's own JSON weigh clips by "
    "their frames where VBench does.",
}
"""What clips of several sizes, lengths or rates mean for the scores."""
WITHOUT_TEXT = {name: (*dimensions, "temporal_flickering") for name, dimensions in TEXT_ONLY.items()}
"""What clips of which no prompt is known are scored on."""
WITH_TEXT = {"toybox": WITHOUT_TEXT["toybox"], "vbench": (*WITHOUT_TEXT["vbench"], "overall_consistency")}
"""What a text allows of which no more is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    sources: Sequence[Path]
    prompts: Path | None
    dimensions: Sequence[str] | None
    benchmark: str
    backend: str
    output: Path
    device: str
    common: bool


class ScorePlan(NamedTuple):
    """A suite that scores clips, in files."""

    suite: str
    files: dict[Path, str]
    """What to write, by path."""
    said: tuple[str, ...]
    """What the console and the report say of it."""


class ScoredSource(NamedTuple):
    """One folder or zip."""

    name: str
    title: str
    path: Path
    videos: list[str]


def plan_scoring(asked: Asked, root: Path) -> ScorePlan:
    """Everything that a run needs. Raises ValueError or FileNotFoundError in one sentence."""
    rows = find_rows(asked.sources)
    named = clips_by_name(
        {row.name: row.videos for row in rows},
        benchmark_prompts(asked.benchmark, root) if asked.prompts is None else [],
        None if asked.prompts is None else listed_prompts(asked.prompts, asked.benchmark),
        WITHOUT_TEXT[asked.benchmark],
        common=asked.common,
        most=SAMPLES_SEEN if asked.benchmark == "vbench" else None,
    )
    named = named._replace(prompts=tuple(what_texts_allow(named, asked.benchmark)))
    fewest = FEWEST_FRAMES[asked.benchmark]
    shapes = {row.name: look_at_row(row, named.files[row.name], fewest) for row in rows}
    named = named._replace(prompts=tuple(_within(named.prompts, asked.dimensions)))
    if asked.benchmark == "vbench":
        named = _seen_by_raft(named, shapes, asked.dimensions)
    dimensions = [name for name in NAMES if any(name in prompt.dimensions for prompt in named.prompts)]
    suite = suite_name(asked.output)
    said = (*_mode_said(named, asked, dimensions, root), *_shapes_said(rows, shapes, asked.benchmark))
    files = {
        asked.output / "names" / f"{row.name}.json": as_plain_yaml(named.files[row.name]) for row in rows
    }
    listed = asked.output / "prompts.jsonl"
    if named.mode == "custom":
        files[listed] = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in _list_lines(named))
    counted = Counter(shape for found in shapes.values() for shape in found.values())
    common = counted.most_common(1)[0][0]
    if len({(shape.pixel_frames, shape.fps) for shape in counted}) > 1:
        # clips without seconds in common are no suite of long clips, whose curves go by seconds
        longest = LONG_SECONDS * max(1, round(common.fps))
        common = replace(common, pixel_frames=min(common.pixel_frames, longest))
    for row in rows:
        files[asked.output / "rows" / f"{row.name}.yaml"] = as_plain_yaml(
            _row_file(row, asked, set(shapes[row.name].values()))
        )
    values = _suite_values(asked, suite, [row.name for row in rows], dimensions, named, common, said)
    files[asked.output / "suite.yaml"] = f"# Written by raven-bench score.\n{as_plain_yaml(values)}"
    return ScorePlan(suite, files, said)


def suite_name(output: Path) -> str:
    """The name of the suite whose results lie in a folder: its own name, and what tells it from others."""
    plain = re.sub(r"[^a-z0-9]+", "_", output.name.lower()).strip("_")[:30]
    return f"score_{plain}_{hashlib.sha256(str(output).encode()).hexdigest()[:8]}"


def find_rows(sources: Sequence[Path]) -> list[ScoredSource]:
    """A row for each folder or zip, its title the name, with that of the folder above where two are the same.

    Raises FileNotFoundError, or ValueError if something is neither, holds no video, or two of one name.
    """
    resolved = [path.resolve() for path in sources]
    if doubled := [path for path, times in Counter(resolved).items() if times > 1]:
        raise ValueError(f"{doubled[0]} is given twice; give every folder or zip once.")
    titles = [path.stem if path.suffix.lower() == ".zip" else path.name for path in resolved]
    if len(set(titles)) < len(titles):
        titles = [f"{path.parent.name}/{title}" for path, title in zip(resolved, titles, strict=True)]
    if len(set(titles)) < len(titles):
        titles = [str(path) for path in resolved]
    rows: list[ScoredSource] = []
    for path, title in zip(resolved, titles, strict=True):
        name = id_of(title, LONGEST_ROW) or "row"
        shown = one_line(title)
        rows.append(
            ScoredSource(name, shown if 0 < len(shown) <= LONGEST_TITLE else name, path, videos_of(path))
        )
    return rows


def videos_of(path: Path) -> list[str]:
    """Names of the video files directly in a folder, or anywhere in a zip.

    Raises as `find_rows` does.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give folders or zips of clips.")
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir() if is_video_name(file.name))
        if strange := [name for name in (*names, str(path)) if not _is_utf8(name)]:
            raise ValueError(
                f"{_readable(str(path))}: the name '{_readable(strange[0])}' is no UTF-8 text, so that "
                "nothing can refer to it; rename it."
            )
    elif path.suffix.lower() == ".zip":
        names = sorted(zip_members(path, is_video_name))
    else:
        raise ValueError(f"{path} is neither a folder nor a .zip; give the folder that it lies in.")
    if not names:
        inside = "; it has folders: give one of those" if path.is_dir() and _has_folders(path) else ""
        raise ValueError(
            f"{path} holds no video directly (.mp4, .webm, .mkv, .avi, .mov, .m4v, .ts){inside}."
        )
    same = [stem for stem, times in Counter(map(stem_of, names)).items() if times > 1]
    if same:
        raise ValueError(
            f"{path} holds several files called {same[0]!r} that differ in their endings alone; keep one."
        )
    return names


def _is_utf8(name: str) -> bool:
    """Whether a name came from bytes that are UTF-8; of others Python keeps each byte as half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _readable(name: str) -> str:
    """A name that can be printed, bytes that are no UTF-8 as \\xe9."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _has_folders(path: Path) -> bool:
    return any(inner.is_dir() for inner in path.iterdir())


def benchmark_prompts(benchmark: str, root: Path) -> list[Prompt]:
    """The benchmark's own prompts in its standard protocol; empty where VBench's list is not fetched."""
    settings = {"benchmark": benchmark, "dimensions": list(NAMES), **STANDARD[benchmark]}
    settings["sha256"] = benchmark_sha256(root, benchmark)
    try:
        return suite_prompts(settings, root / "resources/prompts")
    except FileNotFoundError:
        return []


def listed_prompts(path: Path, benchmark: str) -> list[Prompt]:
    """The prompts of a user's list (evaluation/prompt_lists.py), or of one with the columns file and prompt.

    Samples are counted from the clips. Raises ValueError as the reader of lists does.
    """
    content, ending = path.read_bytes(), path.suffix.lower().lstrip(".")
    text = utf8_text(content, path.name)
    if ending not in LIST_READERS:
        raise ValueError(
            f"{path.name} ends in .{ending}, expected one of .{', .'.join(LIST_READERS)}; save it so."
        )
    lines: list[dict[str, Any]] = []
    if ending in ("csv", "tsv"):
        lines = [dict(cells) for _, cells in read_table(text, path.name, "," if ending == "csv" else "\t")[1]]
    elif ending == "jsonl":
        lines = [load_json(line, path.name) for line in text_lines(text)]
    if lines and all(isinstance(line, dict) and "file" in line for line in lines):
        lines = [_of_file(line, number, path.name) for number, line in enumerate(lines, 1)]
    elif not lines:
        rules = replace(LIST_RULES[benchmark], words=None)
        return read_user_list(content, path.name, rules, 1)
    kept = "".join(json.dumps(_untabled(line) | {"samples": SAMPLES_SEEN}) + "\n" for line in lines)
    return read_user_list(
        kept.encode(), f"{path.name}.jsonl", replace(LIST_RULES[benchmark], words=None), None
    )


def _of_file(line: dict[str, Any], number: int, name: str) -> dict[str, Any]:
    extra = sorted(line.keys() - {"file", "prompt", "dimensions", "facts"})
    if extra or not isinstance(line["file"], str):
        raise ValueError(
            f"{name} line {number}: beside `file`, a list has prompt, dimensions and facts, found "
            f"{', '.join(extra) or 'a file that is no text'}; correct it."
        )
    stem = stem_of(line["file"]) if is_video_name(line["file"]) else line["file"]
    return {"id": id_of(stem), **{key: value for key, value in line.items() if key != "file"}}


def _untabled(line: dict[str, Any]) -> dict[str, Any]:
    """A table's cells as JSON has them; samples and keep are counted from the clips."""
    cells = {key: value for key, value in line.items() if key not in ("samples", "keep") and value != ""}
    if isinstance(asked := cells.get("dimensions"), str):
        cells["dimensions"] = [part.strip() for part in asked.split(";")]
    return cells


def what_texts_allow(named: NamedClips, benchmark: str) -> list[Prompt]:
    """The prompts with the dimensions that can be scored on what is known of them."""
    if named.mode == "standard" or not named.texts:
        return list(named.prompts)
    free = {*TEXT_ONLY[benchmark], *WITHOUT_TEXT[benchmark]}
    made = []
    for prompt in named.prompts:
        facts = facts_of(prompt.prompt) if benchmark == "toybox" and not prompt.facts else None
        if facts is not None:
            dimensions = DIMENSIONS_OF_KIND[prompt_kind(facts)]
            prompt = prompt.model_copy(update={"facts": facts, "dimensions": dimensions})
        elif set(prompt.dimensions) <= free:  # nobody asked for others
            prompt = prompt.model_copy(update={"dimensions": WITH_TEXT[benchmark]})
        made.append(prompt)
    return made


def _within(prompts: Sequence[Prompt], asked: Sequence[str] | None) -> list[Prompt]:
    """The prompts with the dimensions that were asked for. Raises ValueError for one that cannot be."""
    if asked is None:
        return list(prompts)
    if unknown := [name for name in asked if name not in NAMES]:
        raise ValueError(f"--dimensions names {unknown[0]!r}, expected some of {', '.join(NAMES)}.")
    possible = [name for name in NAMES if any(name in prompt.dimensions for prompt in prompts)]
    if absent := [name for name in asked if name not in possible]:
        raise ValueError(
            f"{absent[0]} cannot be scored on these clips: what is known of their prompts allows "
            f"{', '.join(possible)}; take it out of --dimensions, or give --prompts a list with facts."
        )
    kept = [
        prompt.model_copy(update={"dimensions": tuple(d for d in prompt.dimensions if d in asked)})
        for prompt in prompts
    ]
    return [prompt for prompt in kept if prompt.dimensions]


def _seen_by_raft(
    named: NamedClips, shapes: Mapping[str, Mapping[str, ClipShape]], asked: Sequence[str] | None
) -> NamedClips:
    """The clips, without dynamic degree where RAFT cannot see one of its own.

    Raises ValueError if that was asked for, or if the static filter cannot see one of a still prompt.
    """

    def unseen(prompts: Sequence[Prompt]) -> str:
        """What to say of the clips of these prompts that are too small, empty if none is."""
        ids = {clip_id(prompt.id, sample) for prompt in prompts for sample in range(prompt.samples)}
        narrow = [
            f"{name} of {row}, {_size((shape.width, shape.height))}"
            for row, files in named.files.items()
            for clip, name in files.items()
            if clip in ids and min((shape := shapes[row][name]).width, shape.height) < RAFT_SIDE
        ]
        return (
            f"{len(narrow)} clips have a side of less than {RAFT_SIDE} pixels (first: {narrow[0]}), of which "
            "RAFT gives no numbers"
            if narrow
            else ""
        )

    if why := unseen([prompt for prompt in named.prompts if prompt.keep is not None]):
        raise ValueError(f"{why}, so that the static filter cannot judge still prompts; take them out.")
    if not (why := unseen([prompt for prompt in named.prompts if "dynamic_degree" in prompt.dimensions])):
        return named
    if asked is not None:
        raise ValueError(f"{why}; take dynamic_degree out of --dimensions, or those clips out.")
    kept = [
        prompt.model_copy(update={"dimensions": tuple(d for d in prompt.dimensions if d != "dynamic_degree")})
        for prompt in named.prompts
    ]
    note = f"Dynamic degree is left out: {why}."
    return named._replace(prompts=tuple(kept), notes=(*named.notes, note))


def look_at_row(row: ScoredSource, files: Mapping[str, str], fewest: int) -> dict[str, ClipShape]:
    """The shape of every clip by its file's name. fewest: frames that a clip must have.

    Raises ValueError naming the first that are no videos, or too short.
    """
    shapes, errors = {}, []
    members = {} if row.path.is_dir() else zip_members(row.path, is_video_name)
    for name in sorted(files.values()):
        try:
            if row.path.is_dir():
                shapes[name] = look_at_clip(row.path / name, name).shape
            else:
                with open_zip(row.path, str(row.path)) as archive:
                    shapes[name] = look_at_clip(archive.read(members[name]), name).shape
        except ClipError as error:
            errors.append(f"{name} {error.reason}")
        else:
            if (frames := shapes[name].pixel_frames) < fewest:
                errors.append(f"{name} has {frames} frames, expected at least {fewest}")
    if errors:
        more = f"; and {len(errors) - NAMED_ERRORS} more" if len(errors) > NAMED_ERRORS else ""
        raise ValueError(
            f"{row.title}: {len(errors)} of {len(files)} clips cannot be scored: "
            f"{'; '.join(errors[:NAMED_ERRORS])}{more}. Nothing was started."
        )
    return shapes


def _mode_said(named: NamedClips, asked: Asked, dimensions: Sequence[str], root: Path) -> list[str]:
    clips = sum(prompt.samples for prompt in named.prompts)
    count = f"{len(named.prompts)} prompts, {clips} clips a row"
    if named.mode == "standard":
        every = benchmark_prompts(asked.benchmark, root)
        whole = is_whole_set(named.prompts, every) and asked.dimensions is None
        lacking = sum(p.samples for p in every) - clips
        said = (
            f"Standard mode: the names are {asked.benchmark}'s own, {len(named.prompts)} of its {len(every)} "
            f"prompts are there ({clips} clips a row)"
            + (
                ", the whole set: totals are computed."
                if whole
                else f"; {lacking} clips of the standard protocol are not, so no row has a total."
            )
        )
    elif named.texts:
        said = f"Custom mode: prompts from {named.texts} ({count}); no totals."
    else:
        said = (
            f"Custom mode: the names say no prompts ({count}), so that only dimensions without a text are "
            "scored; --prompts FILE with the columns file and prompt gives more; no totals."
        )
    notes = [said, f"Scored: {', '.join(dimensions)} ({asked.benchmark})."]
    if "temporal_flickering" in dimensions and named.mode == "custom":
        notes.append(
            "Temporal flickering is meant for still scenes: on others motion lowers it, and no static filter "
            "is applied here."
        )
    if asked.benchmark == "toybox":
        notes.append(
            "The toybox checkers know a world of drawn shapes: clips are seen as 81 frames of 32x32 pixels, "
            "and numbers of real videos say nothing about their quality (--benchmark vbench does)."
        )
    elif not benchmark_prompts(asked.benchmark, root) and asked.prompts is None:
        notes.append(
            "VBench's own list of prompts is not here, so names were not compared with it: raven-bench fetch "
            f"--suite {shlex.quote(str(asked.output / 'suite.yaml'))} brings it, then give the same command "
            "again."
        )
    return [*notes, *named.notes]


def _shapes_said(
    rows: Sequence[ScoredSource], shapes: Mapping[str, Mapping[str, ClipShape]], benchmark: str
) -> list[str]:
    every = Counter(shape for found in shapes.values() for shape in found.values())
    if len(every) == 1:
        return []
    frames, rates = ({getattr(s, key) for s in every} for key in ("pixel_frames", "fps"))
    sizes = sorted({(s.width, s.height) for s in every})
    said = [
        name
        for values, name in (
            (sizes, f"{len(sizes)} sizes, {_size(sizes[0])} to {_size(sizes[-1])} pixels"),
            (frames, f"{min(frames)} to {max(frames)} frames"),
            (rates, f"{min(rates):.4g} to {max(rates):.4g} frames a second"),
        )
        if len(values) > 1
    ]
    mixed = [row.title for row in rows if len(set(shapes[row.name].values())) > 1]
    where = f" (mixed within {', '.join(mixed)})" if mixed else ""
    return [f"Not comparable by themselves: clips come in {', '.join(said)}{where}. {MIXED_SEEN[benchmark]}"]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def is_whole_set(prompts: Sequence[Prompt], every: Sequence[Prompt]) -> bool:
    """Whether all prompts are there with all samples that are scored; of still prompts equally many."""
    still = {prompt.samples for prompt in prompts if prompt.keep is not None}
    return (
        bool(every)
        and len(prompts) == len(every)
        and len(still) <= 1
        and all(p.samples == e.samples for p, e in zip(prompts, every, strict=True) if e.keep is None)
        and all(p.keep == e.keep for p, e in zip(prompts, every, strict=True))
    )


def _list_lines(named: NamedClips) -> list[dict[str, Any]]:
    """The lines of the list that the prompts stage reads."""
    lines = []
    for prompt in named.prompts:
        safe = is_safe_name(prompt.prompt, prompt.samples)
        if named.texts and not safe:
            raise ValueError(
                f"The prompt {prompt.prompt[:80]!r} cannot be a file name of VBench's form "
                "(<prompt>-<k>.mp4): it holds a slash, a quote or the like, ends in -<number>, or is too "
                "long; rephrase it."
            )
        text = prompt.prompt if safe else prompt.id
        facts = {"facts": prompt.facts} if prompt.facts else {}
        lines.append(
            {"id": prompt.id, "prompt": text, "samples": prompt.samples}
            | {"dimensions": list(prompt.dimensions)}
            | facts
        )
    return lines


def _row_file(row: ScoredSource, asked: Asked, shapes: set[ClipShape]) -> dict[str, Any]:
    (one, *others) = shapes
    uniform = not others and isinstance(one.fps, int)
    shape: Any = (
        {"pixel_frames": one.pixel_frames, "height": one.height, "width": one.width, "fps": one.fps}
        if uniform
        else "any"
    )
    unknown = dict.fromkeys(("steps", "noise", "seeds", "prompts", "precision", "encoder"))
    return {
        "name": row.name,
        "kind": "import",
        "title": row.title,
        "clips": {
            "path": str(row.path),
            "shape": shape,
            "files": str(asked.output / "names" / f"{row.name}.json"),
        },
        "declared": unknown,
        "licence": "not stated",
        "citation": "clips given to raven-bench score",
    }


def _suite_values(
    asked: Asked,
    suite: str,
    rows: Sequence[str],
    dimensions: Sequence[str],
    named: NamedClips,
    shape: ClipShape,
    said: Sequence[str],
) -> dict[str, Any]:
    still = {prompt.samples for prompt in named.prompts if prompt.keep is not None}
    prompts: dict[str, Any] = {"per_dimension": None}
    if named.mode == "standard":
        prompts |= {"seed": 0, **STANDARD[asked.benchmark]}
        if "the whole set" in said[0]:
            prompts["static_samples"] = still.pop()
        else:
            prompts["counts"] = {prompt.id: prompt.samples for prompt in named.prompts}
    else:
        prompts |= {"list": str(asked.output / "prompts.jsonl"), "scored_only": True}
    official = asked.benchmark == "vbench"
    score_s = 0.01 if not official else 0.1 if asked.device == "cuda" else 0.7 * shape.fps
    return planned_suite(suite, asked.benchmark, rows, dimensions, prompts, asked.output) | {
        "label": f"Clips of others ({', '.join(rows)[:200]}), scored by raven-bench score.",
        "device": asked.device,
        "clip": {
            "pixel_frames": max(2, shape.pixel_frames),
            "height": shape.height,
            "width": shape.width,
            "fps": max(1, round(shape.fps)),
        },
        "scoring": {"resources": ["scorer"], "backend": asked.backend},
        "report": {"clips_budget_mb": 100, "note": None, "notes": list(said)},
        "rates": {
            "train_s": 0,
            "sample_s": 0,
            "score_s": score_s,
            "job_s": 2,
            "video_mb": 0.2,
        },
        "allow_degenerate": list(rows),  # strangers' clips are scored as they are; the log names these
        "resources": ["prompts"] if official and asked.prompts is None else [],
    }


def planned_suite(
    suite: str, benchmark: str, rows: Sequence[str], dimensions: Sequence[str], prompts: Any, output: Path
) -> dict[str, Any]:
    """A suite's file that samples and trains nothing, whose rows are in files beside it."""
    return {
        "suite": suite,
        "benchmark": benchmark,
        "label": f"Scores of {', '.join(rows)[:200]}.",
        "device": "cpu",
        "baselines": list(rows),
        "row_files": str(output / "rows"),
        "controls": [],
        "dimensions": list(dimensions),
        "prompts": prompts,
        "clip": {"pixel_frames": 81, "height": 480, "width": 832, "fps": 16},
        "sample": {"batch": 1, "shards": 1, "noise": "portable", "precision": "float32"},
        "model": {"codec": "none", "text": "none", "latent_height": 1, "latent_width": 1},
        "weights": {},
        "train": {},
        "raven": None,
        "cm_grpo": None,
        "aggregate": {"draws": 10_000, "seed": 0},
        "report": {"clips_budget_mb": 0, "note": None},
        "rates": {"train_s": 0, "sample_s": 0, "score_s": 0, "job_s": 2, "video_mb": 0},
        "resources": [],
    }


def as_plain_yaml(values: Any) -> str:
    """JSON, which is YAML too: names of others need no rules of quoting."""
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"
