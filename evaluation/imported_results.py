"""Scores that somebody else computed: a leaderboard's zip, a folder of VBench's `*_eval_results.json`, or a
`run.json` of ours -> the score of every clip, and then the records of a row without clips. Pure but for
reading.

VBench names a clip `<short prompt>-<k>.mp4` and writes that name, with whatever folders, as `video_path`.
Nothing is guessed: a name that is no clip of the prompts, a clip that is missing or comes twice, a value that
the dimension cannot have, and a score that its own rows do not give are refused, each in a sentence that
names it.
"""

import hashlib
import json
import math
import re
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.dimensions import NAMES, BoundsName
from evaluation.files import file_sha256, load_json, open_zip, utf8_text, zip_errors
from evaluation.metrics import metrics
from evaluation.records import (
    ClipScore,
    DimensionResult,
    FilteredPrompt,
    FilteredSet,
    Inputs,
    Prompt,
    Protocol,
    ScorerKind,
    ScoresTable,
    clip_id,
    parse,
    without_checksum,
)
from evaluation.vbench.leaderboard import MAX_JSON_MB, SPARE
from evaluation.vbench.reduce import official_clip_value, official_score, several_process_score

EVAL_RESULTS = "_eval_results.json"
"""End of the names that VBench gives to its results."""
FULL_INFO = "_full_info.json"
"""End of the names of the lists of prompts that it writes beside them."""
MAX_RESULT_FILES = 1000
"""JSON files of a folder or zip."""
MAX_RUN_MB = 1024
"""Of a run.json, whose clips and posters are inside."""
CLIP_NAME = re.compile(r"(.+)-(\d{1,6})\.([A-Za-z0-9]{2,5})", re.DOTALL)
PIECE_NAME = re.compile(r"-\d+(_\d{3}|_full)\.mp4$")
"""End of the names that VBench-Long gives to pieces of a clip."""
CUT_NAME = 100
"""Characters from which a name may be a prompt that was cut: some tools cut at 100, others at 180."""
MISREAD_AS = ("cp1252", "latin-1", "cp437", "mac_roman")
"""What UTF-8 is taken for by those who write a cedilla as two characters."""
SAME_SCORE = {"rel_tol": 1e-6, "abs_tol": 1e-9}
"""How far a stated score may be from what its rows give: float32 sums of VBench."""
CLIPS_IN_MESSAGE = 3


class ForeignScore(NamedTuple):
    """The score of one clip as its file has it."""

    file: str
    """Name of the clip, without folders."""
    text: str
    """The short prompt in its name."""
    sample: int
    value: float
    """A fraction, as of ClipScore."""
    prompt_id: str | None = None
    """Of our own records, which know it."""


class ForeignDimension(NamedTuple):
    """One dimension of somebody's results."""

    name: str
    origin: str
    """The file that it stands in."""
    stated: float
    """The score that the file states, its element 0."""
    mean: float
    """What one process of VBench would have printed, where the rows have what it needs; else the mean over
    clips.
    """
    several: float | None
    """What several processes would have printed, where that is known and another number."""
    kind: ScorerKind
    scores: tuple[ForeignScore, ...]


class ForeignResults(NamedTuple):
    """All that was read of one row."""

    path: str
    sha256: str
    """Of the file; of a folder over the names and sha256 of what was read."""
    benchmark: BoundsName
    dimensions: dict[str, ForeignDimension]
    """In VBench's order."""
    row: str | None = None
    """Of a run.json: the row."""
    label: str | None = None
    """How the run called it."""
    prompts: tuple[Prompt, ...] = ()
    """Of a run.json: its prompts."""
    protocol: Protocol | None = None
    """Of a run.json: what its row states. Files of VBench state none."""
    seconds: float | None = None
    """Of a run.json of long clips: how long they play."""


def read_foreign_results(path: Path | str, row: str | None = None) -> ForeignResults:
    """The scores of every clip in somebody's results. row: which one of a run.json.

    Raises FileNotFoundError, or ValueError of one sentence naming the file, the dimension and the clip.
    """
    path = Path(path)
    if is_run(path):
        return _of_run(path, row)
    if row is not None:
        raise ValueError(
            f"{path} is no run.json, so that there is no row {row!r} to choose; leave the row out."
        )
    return _of_vbench(path)


def read_named_results(given: Path | str) -> ForeignResults:
    """Results by their path, behind which `:row` may stand; of a results folder its run.json.

    Raises as `read_foreign_results` does.
    """
    path, colon, row = str(given).rpartition(":")
    chosen = Path(path), row
    if not colon or Path(given).exists() or not chosen[0].exists():
        chosen = Path(given), ""
    place = chosen[0] / "run.json" if (chosen[0] / "run.json").is_file() else chosen[0]
    return read_foreign_results(place, chosen[1] or None)


def is_run(path: Path) -> bool:
    """Whether results are read as a run.json of ours: by the file's name or its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return path.name == "run.json" or stream.read(14).startswith(b'{"checksum":')


def result_files(path: Path) -> list[Path]:
    """The files that results are read from: the one file, or those of a folder."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.json") if file.name[0] != ".")
    named = [file for file in files if file.name.endswith(EVAL_RESULTS)]
    return named or [file for file in files if not file.name.endswith(FULL_INFO)]


def parsed_name(video_path: str) -> tuple[str, str, int] | None:
    """File name, short prompt and sample of a `video_path`; None if it is no name of VBench's form."""
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", video_path)[-1])
    found = CLIP_NAME.fullmatch(name)
    return None if found is None else (name, found[1], int(found[2]))


def _of_vbench(path: Path) -> ForeignResults:
    found: dict[str, ForeignDimension] = {}
    for origin, read in _json_files(path):
        where = f"{path}: {origin}" if origin else str(path)
        if not isinstance(read, dict):
            raise ValueError(
                f'{where} holds a {type(read).__name__}, expected {{"<dimension>": [score, rows]}} of '
                "VBench; take it out, or keep VBench's own files."
            )
        for key, value in read.items():
            name = key.replace(" ", "_")
            if name not in NAMES:
                raise ValueError(f"{where}: {key[:80]!r} is no dimension of VBench; take it out.")
            if name in found:
                raise ValueError(
                    f"{where}: {name} stands in {found[name].origin or 'it'} already; keep the results of "
                    "one run."
                )
            found[name] = _dimension(name, value, where, origin)
    if not found:
        raise ValueError(
            f'{path} holds no result of VBench; expected JSON files with {{"<dimension>": [score, rows]}}.'
        )
    return ForeignResults(str(path), _sha256_of(path), "vbench", _in_order(found))


def _in_order(found: Mapping[str, ForeignDimension]) -> dict[str, ForeignDimension]:
    return {name: found[name] for name in NAMES if name in found}


def _sha256_of(path: Path) -> str:
    if path.is_file():
        return file_sha256(path)
    lines = "".join(f"{file.name}\0{file_sha256(file)}\n" for file in result_files(path))
    return hashlib.sha256(lines.encode()).hexdigest()


def _json_files(path: Path) -> Iterator[tuple[str, Any]]:
    """Name (empty of the one file) and content of every JSON file of results."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; correct the path, or bring the results there.")
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        with open_zip(path, str(path)) as archive:
            for member in _members(archive, path):
                where = f"{path}: {member.filename[:80]!r}"
                _require_small(where, member.file_size)
                with zip_errors(where):
                    content = archive.read(member)
                yield repr(member.filename[:80]), load_json(content, where)
        return
    files = result_files(path)
    if len(files) > MAX_RESULT_FILES:
        raise ValueError(
            f"{path} holds {len(files)} JSON files, more than {MAX_RESULT_FILES}; keep one run's."
        )
    for file in files:
        _require_small(str(file), file.stat().st_size)
        yield file.name if path.is_dir() else "", load_json(file.read_bytes(), str(file))


def _require_small(where: str, size: int) -> None:
    if size > MAX_JSON_MB << 20:
        raise ValueError(
            f"{where} has {size >> 20} MiB, more than {MAX_JSON_MB}, where VBench's own has less than one; "
            "take it out."
        )


def _members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The results in a zip: those that VBench's own script reads, or with its own ending at any depth."""
    members = [m for m in archive.infolist() if m.filename.endswith(".json") and not m.is_dir()]
    seen = [m for m in members if not any(part.startswith((".", "__")) for part in m.filename.split("/"))]
    if len(seen) > MAX_RESULT_FILES:
        raise ValueError(
            f"{path} holds {len(seen)} JSON files, more than {MAX_RESULT_FILES}; keep one run's."
        )
    named = [m for m in seen if m.filename.endswith(EVAL_RESULTS)]
    return named or [m for m in seen if not m.filename.endswith(FULL_INFO)]


def _dimension(name: str, value: Any, where: str, origin: str) -> ForeignDimension:
    """One dimension, every row of it looked at."""
    where = f"{where}: {name}"
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], list):
        raise ValueError(f"{where} is not [score, rows], as VBench writes it; keep VBench's own file.")
    stated, rows = value
    if wrong := _outside(name, stated):
        raise ValueError(f"{where} has a score that {wrong}; look at the scorer or its weights.")
    scores: dict[str, ForeignScore] = {}
    for row in rows:
        path = row.get("video_path") if isinstance(row, dict) else None
        if not isinstance(path, str) or "video_results" not in row:
            raise ValueError(
                f"{where} has a row without the text video_path or without video_results "
                f"({str(row)[:80]!r}); keep VBench's own file."
            )
        parsed = parsed_name(path)
        if parsed is None:
            pieces = "; of long clips a run.json is read, and no results of pieces"
            raise ValueError(
                f"{where} scores {path[-120:]!r}, which is no name of VBench's form (<prompt>-<k>.mp4); it "
                f"cannot be matched to a prompt{pieces if PIECE_NAME.search(path) else ''}."
            )
        result = row["video_results"]
        plain = float(result) if isinstance(result, bool) else result
        if not isinstance(plain, int | float):
            wrong = f"is {str(result)[:80]!r}, expected a number"
        else:
            wrong = _outside(name, official_clip_value(name, row))
        if wrong:
            raise ValueError(f"{where} gives {parsed[0]!r} a value that {wrong}; look at the scorer.")
        if parsed[0] in scores:
            raise ValueError(f"{where} counts {parsed[0]!r} twice; keep the results of one run.")
        scores[parsed[0]] = ForeignScore(*parsed, value=official_clip_value(name, row))
    if not scores:
        raise ValueError(f"{where} has no rows, so that no clip has a score; bring VBench's whole file.")
    averages = _averages(name, rows, [score.value for score in scores.values()])
    if not any(math.isclose(stated, one, **SAME_SCORE) for one in averages.values()):
        raise ValueError(
            f"{where} states the score {stated!r}, its {len(rows)} rows give "
            f"{next(iter(averages.values()))!r}; the file was edited, or its rows are of another run."
        )
    mean = next(iter(averages.values()))
    several = averages.get("several")
    return ForeignDimension(
        name,
        origin,
        float(stated),
        mean,
        several if several is not None and abs(several - mean) > 1e-9 else None,
        "official",
        tuple(scores.values()),
    )


def _averages(name: str, rows: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
    """What the rows give, by who averages; the first is what counts. Rows without what a rule needs, such as
    the package's own of subject consistency, have the mean over clips in its place.
    """
    found: dict[str, float] = {}
    for who, rule in (("one", official_score), ("several", several_process_score)):
        try:
            found[who] = rule(name, rows)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue
    return found | {"clips": math.fsum(values) / len(values)}


def _outside(name: str, score: Any) -> str | None:
    """What is wrong with a score, or None: no number, or none that the dimension can have."""
    metric = metrics("vbench")[name]
    if isinstance(score, bool) or not isinstance(score, int | float):
        return f"is {str(score)[:80]!r}, expected a number"
    if not metric.lowest - SPARE <= score <= metric.highest + SPARE:
        return f"is {score:g}, expected {metric.lowest:g} to {metric.highest:g}"
    return None


def _of_run(path: Path, row: str | None) -> ForeignResults:
    """A row of a run.json. Only what is needed of it is read; its checksum holds for all."""
    table, value = _read_run(path)
    rows = {found.row: found for found in table.rows}
    choices = [found.row for found in table.rows if found.dimensions]
    chosen = row or (choices[0] if len(choices) == 1 else None)
    if chosen is None or chosen not in choices:
        raise ValueError(
            f"{path} has the rows {', '.join(choices) or 'none'} with scores, and "
            f"{'none was chosen' if row is None else f'{row!r} is none of them'}; name one as `row`."
        )
    prompts = tuple(_parts(Prompt, value, "prompts", path))
    by_id = {prompt.id: prompt for prompt in prompts}
    kept = {found.row: found.kept for found in _parts(FilteredSet, value, "filters", path)}.get(chosen, {})
    values = value.get("clip_values") or {}
    if chosen not in values:
        raise ValueError(
            f"{path} holds no scores of single clips: an earlier version wrote it; build its report again "
            "(raven-bench report), or import the row's zip (raven-bench leaderboard)."
        )
    found: dict[str, ForeignDimension] = {}
    for name, cell in rows[chosen].dimensions.items():
        if name not in NAMES:
            continue  # a file of the user's made it, which this run may not have
        scores: list[ForeignScore] = []
        for prompt, each in values[chosen].get(name, {}).items():
            samples = kept.get(prompt, ())
            if prompt not in by_id or len(samples) != len(each):
                raise ValueError(
                    f"{path}: the scores of {name} are of other clips than its filters; remake it."
                )
            text = by_id[prompt].prompt
            scores += [
                ForeignScore(f"{text}-{sample}.mp4", text, sample, score, prompt)
                for sample, score in zip(samples, each, strict=True)
                if score is not None
            ]
        mean = math.fsum(score.value for score in scores) / max(len(scores), 1)
        if not scores or not math.isclose(100.0 * mean, cell.raw.mean, **SAME_SCORE):
            raise ValueError(
                f"{path} states the score {cell.raw.mean / 100!r} of {name} of row {chosen}, its clips give "
                f"{mean!r}; build its report again."
            )
        several = None if cell.several_processes is None else cell.several_processes / 100.0
        found[name] = ForeignDimension(
            name, f"row {chosen}", cell.raw.mean / 100.0, mean, several, cell.kind, tuple(scores)
        )
    return ForeignResults(
        str(path), file_sha256(path), table.benchmark, _in_order(found), chosen, rows[chosen].label, prompts,
        rows[chosen].protocol, _seconds(value.get("long"), path),
    )  # fmt: skip


def _seconds(long: Any, path: Path) -> float | None:
    """How long the clips of a run play, from what it says of long ones; None of a run without."""
    if long is None:
        return None
    frames, fps = (long.get(key) if isinstance(long, dict) else None for key in ("pixel_frames", "fps"))
    if not (isinstance(frames, int) and isinstance(fps, int) and 0 < fps <= frames < 1e9):
        raise ValueError(f"{path}: long does not say how many frames its clips have; build its report again.")
    return frames / fps


def named_source(found: ForeignResults) -> str:
    """The path of somebody's results as `read_named_results` takes it."""
    return f"{found.path}:{found.row}" if found.row else found.path


def require_one_length(seconds: Mapping[str, float | None]) -> None:
    """Raise ValueError if two of several results are of long clips of two lengths. seconds: by source, None
    where it is not known.
    """
    known = {source: length for source, length in seconds.items() if length is not None}
    (first, length), *others = known.items() or [("", 0.0)]
    if differing := next((one for one in others if abs(one[1] - length) > 0.5), None):
        raise ValueError(
            f"{first} is of clips of {length:.1f} s, {differing[0]} of clips of {differing[1]:.1f} s, whose "
            "numbers cannot be compared; take results of one length."
        )


def rows_of_run(path: Path) -> list[str]:
    """The rows of a run.json that have scores, controls left out, in the order of its table."""
    table, _ = _read_run(path)
    return [row.row for row in table.rows if row.dimensions and row.kind != "control"]


def _read_run(path: Path) -> tuple[ScoresTable, Mapping[str, Any]]:
    if path.stat().st_size > MAX_RUN_MB << 20:
        raise ValueError(
            f"{path} has more than {MAX_RUN_MB} MiB, which no run.json of ours has; name another."
        )
    body, intact = without_checksum(utf8_text(path.read_bytes(), str(path)))
    value = load_json(body, str(path), numbers=False)
    if not isinstance(value, dict) or not isinstance(value.get("table"), dict):
        raise ValueError(f"{path} is no run.json of raven-bench; name a run.json, or VBench's own files.")
    if not intact:
        raise ValueError(
            f"{path} is not what its checksum says: it was edited, cut off or damaged; fetch it again."
        )
    return _part(ScoresTable, value["table"], f"{path}: table"), value


def _part(kind: Any, value: Any, where: str) -> Any:
    return parse(kind, json.dumps(value), where)


def _parts(kind: Any, value: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    return [_part(kind, one, f"{path}: {key} {n}") for n, one in enumerate(value.get(key) or ())]


class MatchedResults(NamedTuple):
    """Somebody's scores as scores of our prompts."""

    kept: dict[str, tuple[int, ...]]
    """Samples that were scored, by prompt id; of prompts without `keep` all."""
    clips: dict[str, tuple[ClipScore, ...]]
    """By dimension, in the order of the prompts."""
    left_out: dict[str, tuple[str, ...]]
    """Clips that the scorer does not count, by dimension: of color, in which no colour is seen."""


def match_results(found: ForeignResults, prompts: Sequence[Prompt], wanted: Sequence[str]) -> MatchedResults:
    """Which clip of ours each score is of. wanted: dimensions that must be there; others are passed over.

    Raises ValueError naming the clips that no prompt has, or that a prompt lacks, and the dimension.
    """
    lost = [name for name in wanted if name not in found.dimensions]
    if lost:
        raise ValueError(
            f"{found.path} has no result of {', '.join(lost)}; it holds {', '.join(found.dimensions)}. List "
            "the dimensions that it has under `results.dimensions`."
        )
    finder = PromptFinder(prompts)
    scored: dict[str, dict[tuple[str, int], float]] = {}
    for name in wanted:
        dimension = found.dimensions[name]
        where = f"{found.path}: {name}"
        pairs = [(finder.find(score), score) for score in dimension.scores]
        unknown = [score.file for prompt, score in pairs if prompt is None or name not in prompt.dimensions]
        if unknown:
            raise ValueError(
                f"{where} scores {len(unknown)} clips that are of none of its prompts here "
                f"({_shown(unknown)}); bring results of these prompts, or name the list they are of."
            )
        places: dict[tuple[str, int], float] = {}
        for prompt, score in pairs:
            assert prompt is not None, "unknown ones are refused above"
            if (prompt.id, score.sample) in places:
                raise ValueError(f"{where} counts {score.file!r} twice; keep the results of one run.")
            if score.sample >= prompt.samples:
                raise ValueError(
                    f"{where} scores {score.file!r}, sample {score.sample} of a prompt that has samples 0 to "
                    f"{prompt.samples - 1} here; use results with as many samples."
                )
            places[prompt.id, score.sample] = score.value
        scored[name] = places
    kept = {prompt.id: _kept(prompt, scored, found.path) for prompt in prompts}
    clips: dict[str, tuple[ClipScore, ...]] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    for name, places in scored.items():
        expected = [(p, sample) for p in prompts if name in p.dimensions for sample in kept[p.id]]
        missing = [(p, sample) for p, sample in expected if (p.id, sample) not in places]
        if missing and name != "color":
            names = [f"{prompt.prompt}-{sample}.mp4" for prompt, sample in missing]
            raise ValueError(
                f"{found.path}: {name} lacks {len(missing)} of {len(expected)} clips ({_shown(names)}); "
                "there is no mean over the rest: bring whole results."
            )
        left_out[name] = tuple(clip_id(prompt.id, sample) for prompt, sample in missing)
        clips[name] = tuple(
            ClipScore(clip_id=clip_id(p.id, s), prompt_id=p.id, sample=s, value=places[p.id, s])
            for p, s in expected
            if (p.id, s) in places
        )
    return MatchedResults(kept, clips, left_out)


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[-120:]) for name in names[:CLIPS_IN_MESSAGE])
    return shown + (f" and {len(names) - CLIPS_IN_MESSAGE} more" if len(names) > CLIPS_IN_MESSAGE else "")


def _kept(
    prompt: Prompt, scored: Mapping[str, Mapping[tuple[str, int], float]], path: str
) -> tuple[int, ...]:
    """The samples of a prompt that were scored: all, or those that somebody's static filter kept."""
    if prompt.keep is None:
        return tuple(range(prompt.samples))
    seen = {sample for places in scored.values() for text, sample in places if text == prompt.id}
    if len(seen) > prompt.keep:
        raise ValueError(
            f"{path} has {len(seen)} scored samples of {prompt.prompt!r}, of which {prompt.keep} are kept "
            "here; these results were not filtered alike."
        )
    return tuple(sorted(seen))


class PromptFinder:
    """The prompt that a name is of: by our own id, else by its text as VBench does, in spite of what file
    systems and tools do to long names and to letters outside ASCII.
    """

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.by_id = {prompt.id: prompt for prompt in prompts}
        self.by_text: dict[str, Prompt | None] = {}
        for prompt in prompts:
            text = unicodedata.normalize("NFC", prompt.prompt)
            self.by_text[text] = None if text in self.by_text else prompt
        self.cuts: dict[str, Prompt | None] = {}

    def find(self, score: ForeignScore) -> Prompt | None:
        """None if no prompt fits, or several do."""
        ours = self.by_id.get(score.text if score.prompt_id is None else score.prompt_id)
        if ours is not None and (score.prompt_id is None or ours.prompt == score.text):
            return ours
        text = unicodedata.normalize("NFC", score.text)
        if text in self.by_text:
            return self.by_text[text]
        if not text.isascii() and (repaired := self._repaired(text)) is not None:
            return repaired
        return self._cut(text) if len(text) >= CUT_NAME else None

    def _repaired(self, text: str) -> Prompt | None:
        for encoding in MISREAD_AS:
            try:
                read = text.encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            if found := self.by_text.get(unicodedata.normalize("NFC", read)):
                return found
        return None

    def _cut(self, text: str) -> Prompt | None:
        if text not in self.cuts:
            begins = [prompt for known, prompt in self.by_text.items() if known.startswith(text.rstrip())]
            self.cuts[text] = begins[0] if len(begins) == 1 else None
        return self.cuts[text]


def results_part(found: ForeignResults, prompts: Sequence[Prompt]) -> tuple[ForeignResults, int]:
    """The scores of clips of these prompts and samples, and how many are of others. A dimension that is
    not whole then has the mean of its clips.
    """
    finder = PromptFinder(prompts)
    dimensions: dict[str, ForeignDimension] = {}
    for name, dimension in found.dimensions.items():
        scores = tuple(
            score
            for score in dimension.scores
            if (prompt := finder.find(score)) is not None
            and name in prompt.dimensions
            and score.sample < prompt.samples
        )
        if len(scores) == len(dimension.scores):
            dimensions[name] = dimension
        elif scores:
            mean = math.fsum(score.value for score in scores) / len(scores)
            dimensions[name] = dimension._replace(scores=scores, mean=mean, several=None)
    every, kept = (sum(len(d.scores) for d in of.values()) for of in (found.dimensions, dimensions))
    return found._replace(dimensions=dimensions), every - kept


def chosen_of(matched: MatchedResults, prompts: Sequence[Prompt]) -> MatchedResults:
    """What is left of a row's scores in a run on some prompts, or on their first samples."""
    kept = {p.id: matched.kept[p.id][: p.samples if p.keep is None else p.keep] for p in prompts}
    names = {clip_id(prompt, sample) for prompt, samples in kept.items() for sample in samples}
    return MatchedResults(
        kept,
        {name: tuple(c for c in clips if c.clip_id in names) for name, clips in matched.clips.items()},
        {name: tuple(clip for clip in lost if clip in names) for name, lost in matched.left_out.items()},
    )


def filtered_of(row: str, matched: MatchedResults, prompts: Sequence[Prompt], inputs: Inputs) -> FilteredSet:
    """What somebody's static filter kept. How far each sample moves is not known."""
    return FilteredSet(
        row=row,
        inputs=inputs,
        threshold=None,
        filtered=tuple(
            FilteredPrompt(
                prompt_id=prompt.id,
                motion=(),
                static=(),
                kept=matched.kept[prompt.id],
                short=prompt.keep - len(matched.kept[prompt.id]),
            )
            for prompt in prompts
            if prompt.keep is not None
        ),
        kept=matched.kept,
    )


def imported_results(
    suite: str, row: str, found: ForeignResults, matched: MatchedResults, inputs: Inputs, scorer: str
) -> dict[str, DimensionResult]:
    """Our records of a row's scores, by dimension. scorer: what computed them, as declared.

    matched: of all scores that were found, or of a part of them, whose mean is that of its clips. Raises
    ValueError where a score is an average over frames of clips of different lengths, which the scores of
    clips do not give.
    """
    results = {}
    for name, clips in matched.clips.items():
        dimension = found.dimensions[name]
        whole = len(clips) == len(dimension.scores)
        mean = math.fsum(clip.value for clip in clips) / max(len(clips), 1)
        if whole and abs(mean - dimension.mean) > 1e-6:
            raise ValueError(
                f"{found.path}: {name} is {dimension.mean!r} as VBench averages its frames, and its clips "
                f"give {mean!r}: the clips differ in length; import the clips themselves."
            )
        results[name] = DimensionResult(
            suite=suite,
            row=row,
            dimension=name,
            inputs=inputs,
            kind=dimension.kind,
            mean=dimension.mean if whole else mean,
            clips=clips,
            left_out=matched.left_out[name],
            several_processes=dimension.several if whole else None,
            versions={"imported": f"{scorer}, as declared".replace(", ", "; ")},
        )
    return results
