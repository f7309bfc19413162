"""Versioned records that stages hand to each other, one JSON object a line or a file.

Every record is strict: an unknown or missing key is an error. A changed meaning gets a new SCHEMA_VERSION and
a test that freezes the old one (tests/evaluation/test_records.py). Nothing here holds a time, a host or a
commit: two runs of the same inputs give the same bytes. Such facts go to timings.jsonl, which only the report
reads.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.files import write_text

SCHEMA_VERSION: Final = 1

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=120)]
ClipId = Annotated[str, Field(pattern=r"^[a-z0-9_]+-[0-9]+$", max_length=140)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """Base of every record: immutable, strict about keys, finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = SCHEMA_VERSION


class Prompt(Record):
    """One prompt of a suite.

    prompt: the short text that names and scores the clip; extended: the text fed to the model.
    samples: clips rendered per row; keep: None, or how many of them the static filter keeps.
    facts: ground truth for the scorers (VBench calls it auxiliary_info).
    """

    id: Identifier
    prompt: str
    extended: str
    dimensions: tuple[str, ...]
    samples: Annotated[int, Field(ge=1)]
    keep: Annotated[int, Field(ge=1)] | None = None
    facts: dict[str, Any]


class Clip(Record):
    """One rendered clip: a line of manifest.jsonl.

    noise: how its random numbers were keyed, e.g. "portable:<suite>" or "upstream:<seed>".
    sha256: of the mp4 file's bytes; latents_sha256: of the float32 latents, None for rendered controls.
    settings_sha256: of the canonical JSON of the row's sampling settings.
    """

    clip_id: ClipId
    row: Identifier
    prompt_id: Identifier
    sample: Annotated[int, Field(ge=0)]
    file: str
    sha256: Sha256
    latents_sha256: Sha256 | None
    noise: str
    weights_sha256: Sha256 | None
    settings_sha256: Sha256
    batch_size: Annotated[int, Field(ge=1)]
    pixel_frames: int
    height: int
    width: int
    fps: int


class ClipTiming(Record):
    """What a clip cost and where it was made; read by the report only.

    sample_s, decode_s, write_s: seconds of this clip's share of its batch. first_frames_s: from the batch's
    start until the pixels of its first chunk are decoded, None where clips are not streamed. peak_mb,
    peak_gpu_mb: peak memory of the process, and on its
    GPU, MiB. attention: the attention kernel, None where no network of ours ran. software: versions by name,
    see workflow/sampling/machine.py.
    """

    clip_id: ClipId
    row: Identifier
    sample_s: float
    decode_s: float
    write_s: float
    first_frames_s: float | None
    network_calls: int
    peak_mb: float
    peak_gpu_mb: float | None
    device: str
    attention: str | None
    commit: str
    finished: str
    software: dict[str, str] = {}


class FilteredPrompt(BaseModel):
    """Outcome of the static filter for one prompt: every value is kept, not only the winners."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    prompt_id: Identifier
    motion: tuple[float, ...]
    static: tuple[bool, ...]
    kept: tuple[int, ...]
    short: int


class FilteredSet(Record):
    """Which samples of each prompt go on to scoring (numeric order). `filtered` lists the prompts with a
    `keep`.
    """

    row: Identifier
    threshold: float
    filtered: tuple[FilteredPrompt, ...]
    kept: dict[str, tuple[int, ...]]


class ClipScore(BaseModel):
    """The score of one clip on one dimension, on the dimension's raw scale.

    frame_values: [T], the same for each pixel frame, null where nothing was looked at; None of a scorer that
    does not work frame by frame. A measure of two frames stands at the later one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clip_id: ClipId
    prompt_id: Identifier
    sample: int
    value: float
    frame_values: tuple[float | None, ...] | None = None


class CustomDimension(BaseModel):
    """A dimension that a file of the user's adds; never part of a total.

    worst, best: raw values, in `unit`, that normalise to 0 and to 100; no score may lie outside. prompts: the
    dimension whose prompts it is scored on, or "all". file: where its function is, as the suite names it;
    sha256: of that file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Identifier
    title: str
    unit: str
    worst: float
    best: float
    prompts: str
    file: str
    sha256: Sha256


class DimensionResult(Record):
    """All scores of one row on one dimension. `mean` is the mean over clips, as VBench prints it.

    kind: "exact" (computed from known facts), "official" (VBench's own scorer), "stand-in" or "custom" (a
    dimension of the user's).
    left_out: clips that the official scorer does not count (color: the object is never seen with any colour);
    it says so by their absence.
    several_processes: what the official scorer prints if several processes share the clips, which for three
    dimensions is another average; None where it would print `mean`.
    versions: what computed it, by name, where another package did; several are joined by commas.
    """

    suite: str
    row: Identifier
    dimension: str
    kind: Literal["exact", "official", "stand-in", "custom"]
    mean: float
    clips: tuple[ClipScore, ...]
    left_out: tuple[ClipId, ...] = ()
    several_processes: float | None = None
    versions: dict[str, str] = {}


class WeightsManifest(Record):
    """What `convert` (or a shipped file) hands to `sample`.

    flavour: "full", "adapter", "bundle" or "merged"; base: file an adapter needs. Paths are relative to the
    manifest's folder.
    """

    name: Identifier
    flavour: Literal["full", "adapter", "bundle", "merged"]
    file: str
    sha256: Sha256
    tensors: int
    base: str | None = None
    base_sha256: Sha256 | None = None
    step: int | None = None


class TrainManifest(Record):
    """What `train` hands on: deterministic facts of the finished checkpoint (sha256 over its tensors, in key
    order).
    """

    name: Identifier
    step: int
    tensors_sha256: Sha256
    settings_sha256: Sha256
    init_sha256: Sha256


class Machine(Record):
    """On what a training job ran when it was last started: device of the first process, number of processes,
    versions by name.
    """

    device: str
    processes: int
    commit: str
    software: dict[str, str]


class Interval(BaseModel):
    """A mean and its 95 % bootstrap interval over prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: float
    low: float
    high: float


class DimensionSummary(BaseModel):
    """One cell of the table. raw (percent, or the unit of a custom dimension) and normalised intervals;
    prompts and clips are counts.

    left_out, several_processes: as in DimensionResult, a count and a raw score in percent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["exact", "official", "stand-in", "custom"]
    raw: Interval
    normalised: Interval
    prompts: int
    clips: int
    left_out: int = 0
    several_processes: float | None = None


class RowSummary(BaseModel):
    """One row of the table. Totals are None (and `incomplete` says why) unless every dimension of the suite
    is there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    row: Identifier
    label: str
    kind: Literal["native", "external", "import", "control", "shipped"]
    dimensions: dict[str, DimensionSummary]
    quality: Interval | None
    semantic: Interval | None
    total: Interval | None
    incomplete: str | None


class PairedDifference(BaseModel):
    """Row `a` minus row `b` on common prompts; p_value from the paired bootstrap, holm over the family it
    belongs to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    a: Identifier
    b: Identifier
    measure: str
    difference: Interval
    p_value: float
    holm: float
    prompts: int


class ScoresTable(Record):
    """aggregate/scores.json: everything the report's numbers come from.

    dimensions: those of the sixteen that were asked for; custom: dimensions of the user's. subset: a sentence
    saying what a subset run leaves out, None of a whole one.
    """

    suite: str
    dimensions: tuple[str, ...]
    custom: tuple[CustomDimension, ...] = ()
    subset: str | None = None
    rows: tuple[RowSummary, ...]
    pairs: tuple[PairedDifference, ...]
    draws: int
    seed: int


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def parse(kind: type[AnyRecord], text: str, where: str) -> AnyRecord:
    """A record from JSON text. Raises ValueError naming the place and every wrong key in one sentence."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the record'}: {e['msg']}" for e in error.errors()
        )
        raise ValueError(
            f"{where} is not a valid {kind.__name__} record ({wrong}); remake it with its stage."
        ) from error


def read_json(kind: type[AnyRecord], path: Path | str) -> AnyRecord:
    """One record from one file. Raises FileNotFoundError or ValueError with the file's name."""
    return parse(kind, Path(path).read_text(encoding="utf-8"), str(path))


def read_jsonl(kind: type[AnyRecord], path: Path | str) -> list[AnyRecord]:
    """Records of a .jsonl file, in order. Raises ValueError naming file and line."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [parse(kind, line, f"{path} line {number}") for number, line in enumerate(lines, 1)]


def write_json(path: Path | str, record: BaseModel) -> None:
    """One record, indented, with a final newline; byte for byte reproducible."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


def write_jsonl(path: Path | str, records: Iterable[BaseModel]) -> None:
    """Records one a line, in the given order."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))


def clip_id(prompt_id: str, sample: int) -> str:
    """Name of a clip: `<prompt_id>-<sample>`. Raises ValueError if the prompt id is not [a-z0-9_]+."""
    if not re.fullmatch(r"[a-z0-9_]+", prompt_id):
        raise ValueError(
            f"prompt id {prompt_id!r} has characters outside [a-z0-9_]; rename it in the prompt list."
        )
    return f"{prompt_id}-{sample}"
