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

from evaluation.files import text_lines, utf8_text, write_text

SCHEMA_VERSION: Final = 1

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=120)]
ClipId = Annotated[str, Field(pattern=r"^[a-z0-9_]+-[0-9]+$", max_length=140)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ScorerKind = Literal["exact", "official", "stand-in", "custom"]
"""How a score was computed: from known facts, by VBench's own scorer, by a stand-in, or by a user's file."""
RowKind = Literal["native", "external", "import", "control", "shipped"]


class Record(BaseModel):
    """Base of every record and of its parts: immutable, strict about keys, finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class VersionedRecord(Record):
    """A record that is a file of its own, or a line of one; one of a later schema says so itself."""

    schema_version: Literal[1] = SCHEMA_VERSION


class Prompt(VersionedRecord):
    """One prompt of a suite."""

    id: Identifier
    prompt: str
    """The short text, which names and scores the clip."""
    extended: str
    """The text that models are given."""
    dimensions: tuple[str, ...]
    samples: Annotated[int, Field(ge=1)]
    """Clips rendered per row."""
    keep: Annotated[int, Field(ge=1)] | None = None
    """How many of them the static filter keeps; None if it does not look at them."""
    facts: dict[str, Any]
    """Ground truth for the scorers, VBench's auxiliary_info."""


class Clip(VersionedRecord):
    """One rendered clip: a line of manifest.jsonl."""

    clip_id: ClipId
    row: Identifier
    prompt_id: Identifier
    sample: Annotated[int, Field(ge=0)]
    file: str
    """The mp4, relative to the row's folder."""
    sha256: Sha256
    """Of the mp4's bytes."""
    latents_sha256: Sha256 | None
    """Of the float32 latents; None of a clip that no network of ours made."""
    noise: str
    """How its random numbers were keyed, such as "portable:<suite>" or "upstream:<seed>"."""
    weights_sha256: Sha256 | None
    settings_sha256: Sha256
    """Of the canonical JSON of the row's sampling settings."""
    batch_size: Annotated[int, Field(ge=1)]
    pixel_frames: int
    height: int
    width: int
    fps: int


class ClipTiming(VersionedRecord):
    """What a clip cost and where it was made; read by the report only."""

    clip_id: ClipId
    row: Identifier
    sample_s: float
    """Seconds of this clip's part of its batch, as decode_s and write_s are."""
    decode_s: float
    write_s: float
    first_frames_s: float | None
    """From the batch's start to the first chunk's pixels; None where clips are not streamed."""
    network_calls: int
    peak_mb: float
    """Peak memory of the process, MiB."""
    peak_gpu_mb: float | None
    """Peak memory on its GPU, MiB."""
    device: str
    attention: str | None
    """The attention kernel; None where no network of ours ran."""
    commit: str
    finished: str
    software: dict[str, str] = {}
    """Versions by name, see workflow/sampling/machine.py."""


class FilteredPrompt(Record):
    """Outcome of the static filter for one prompt: every value is kept, not only the winners."""

    prompt_id: Identifier
    motion: tuple[float, ...]
    """By sample, in the benchmark's unit."""
    static: tuple[bool, ...]
    kept: tuple[int, ...]
    """Samples that are scored."""
    short: int
    """How many static samples were lacking."""


class FilteredSet(VersionedRecord):
    """Which samples of each prompt of a row go on to scoring, in numeric order."""

    row: Identifier
    threshold: float
    filtered: tuple[FilteredPrompt, ...]
    """The prompts with a `keep`."""
    kept: dict[str, tuple[int, ...]]
    """Prompt id -> samples, for all prompts."""


class ClipScore(Record):
    """The score of one clip on one dimension, on the dimension's raw scale."""

    clip_id: ClipId
    prompt_id: Identifier
    sample: int
    value: float
    frame_values: tuple[float | None, ...] | None = None
    """[T], the same for each pixel frame, null where nothing was looked at; a value of two frames stands at
    the later one. None if the scorer does not work frame by frame."""


class CustomDimension(Record):
    """A dimension that a file of the user's adds; never part of a total."""

    name: Identifier
    title: str
    unit: str
    worst: float
    """Raw value in `unit` that normalises to 0; no score may lie outside worst and best."""
    best: float
    """Raw value that normalises to 100."""
    prompts: str
    """The dimension whose prompts it is scored on, or "all"."""
    clips: Literal["kept", "all"] = "kept"
    """Of a still prompt: the samples that the static filter kept, or all."""
    file: str
    """Where its function is, as the suite names it."""
    sha256: Sha256
    """Of that file."""


class DimensionResult(VersionedRecord):
    """All scores of one row on one dimension."""

    suite: str
    row: Identifier
    dimension: str
    kind: ScorerKind
    mean: float
    """Over clips, as VBench prints it."""
    clips: tuple[ClipScore, ...]
    left_out: tuple[ClipId, ...] = ()
    """Clips that the official scorer does not count (color: the object is never seen with any colour); it
    says so by their absence."""
    several_processes: float | None = None
    """What the official scorer prints if several processes share the clips, which for three dimensions is
    another average; None where it would print `mean`."""
    versions: dict[str, str] = {}
    """What computed it, by name, where another package did; several are joined by commas."""


class WeightsManifest(VersionedRecord):
    """What `convert` (or a shipped file) hands to `sample`. Paths are relative to the manifest's folder."""

    name: Identifier
    flavour: Literal["full", "adapter", "bundle", "merged"]
    file: str
    sha256: Sha256
    tensors: int
    base: str | None = None
    """The file that an adapter needs."""
    base_sha256: Sha256 | None = None
    step: int | None = None


class TrainManifest(VersionedRecord):
    """What `train` hands on: deterministic facts of the finished checkpoint."""

    name: Identifier
    step: int
    tensors_sha256: Sha256
    """Over its tensors, in the order of their keys."""
    settings_sha256: Sha256
    init_sha256: Sha256


class Machine(VersionedRecord):
    """On what a training job ran when it was last started."""

    device: str
    """Of the first process."""
    processes: int
    commit: str
    software: dict[str, str]
    """Versions by name."""


class Interval(Record):
    """A mean and its 95 % bootstrap interval over prompts."""

    mean: float
    low: float
    high: float


class DimensionSummary(Record):
    """One cell of the table."""

    kind: ScorerKind
    raw: Interval
    """Percent, or the unit of a custom dimension."""
    normalised: Interval
    prompts: int
    clips: int
    left_out: int = 0
    """How many clips DimensionResult.left_out has."""
    several_processes: float | None = None
    """As in DimensionResult, in percent."""


class RankRange(Record):
    """The ranks that the corrected paired tests leave open to a row; 1 is the best."""

    first: Annotated[int, Field(ge=1)]
    last: Annotated[int, Field(ge=1)]

    def __str__(self) -> str:
        """`2` or `1 to 3`."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


class RowSummary(Record):
    """One row of the table."""

    row: Identifier
    label: str
    kind: RowKind
    dimensions: dict[str, DimensionSummary]
    quality: Interval | None
    """None, as the other totals, unless every dimension of the suite is there."""
    semantic: Interval | None
    total: Interval | None
    incomplete: str | None
    """Why there are no totals."""
    ranks: dict[str, RankRange] = {}
    """By metric, totals included; empty of a row that is not ranked."""

    @property
    def totals(self) -> dict[str, Interval]:
        """Total, quality and semantic by name; empty of a row that is incomplete."""
        found = {"total": self.total, "quality": self.quality, "semantic": self.semantic}
        return {name: value for name, value in found.items() if value is not None}


class Needed(Record):
    """What a true difference of so many points would need to be found 80 times of 100, by the same test."""

    points: float
    prompts: int | None
    """Each with the samples of today. None if no number would do."""
    samples: int | None
    """Of each prompt, on the prompts of today. None if no number would do, since prompts differ too, or where
    prompts have one sample each, which tells nothing of seeds.
    """


class PairedDifference(Record):
    """Row `a` minus row `b` on common prompts."""

    a: Identifier
    b: Identifier
    metric: str
    difference: Interval
    """Its interval is of 95 % for this pair alone, without any correction."""
    corrected: Interval
    """The same difference with the interval that goes with `holm`: simultaneous over the family of tests. It
    holds zero where holm >= 0.05, and at most touches it elsewhere.
    """
    p_value: float
    """By the paired bootstrap, or Student's t with few prompts."""
    holm: float
    """The same after Holm's correction over the family of tests it belongs to."""
    prompts: int
    detectable: float | None = None
    """The smallest true difference that this test finds 80 times of 100, at the level that it faced after
    Holm's correction. None where the prompts are too few for any, or do not differ.
    """
    needed: tuple[Needed, ...] = ()
    """Of Total, to find smaller ones."""


class TablePower(Record):
    """What two rows of the table can show of Total: medians over all pairs of ranked rows."""

    tests: int
    """Pairs, which is what p-values are corrected for."""
    prompts: int
    samples: float
    """Of each prompt, their mean."""
    smallest: float
    """The least PairedDifference.detectable of any pair; `largest` the greatest."""
    detectable: float
    """The median of PairedDifference.detectable, in points."""
    largest: float
    needed: tuple[Needed, ...]


class ScoresTable(Record):
    """aggregate/scores.json: everything the report's numbers come from."""

    schema_version: Literal[3] = 3
    suite: str
    benchmark: Literal["toybox", "vbench"]
    """Whose scale and formula its numbers are of."""
    dimensions: tuple[str, ...]
    """Those of the sixteen that were asked for."""
    custom: tuple[CustomDimension, ...] = ()
    """Dimensions of the user's."""
    subset: str | None = None
    """A sentence that says what a subset run leaves out; None of a whole run."""
    rows: tuple[RowSummary, ...]
    pairs: tuple[PairedDifference, ...]
    power: TablePower | None = None
    """None where fewer than two rows have a total."""
    draws: int
    seed: int


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def parse(kind: type[AnyRecord], text: str, where: str) -> AnyRecord:
    """A record from JSON text. Raises ValueError naming the place and its version or every wrong key."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        for wrong_key in error.errors():
            if wrong_key["loc"] == ("schema_version",):
                raise ValueError(
                    f"{where} has schema_version {wrong_key['input']}, expected "
                    f"{kind.model_fields['schema_version'].default} of a {kind.__name__} record: another "
                    "version of this program wrote it, with other keys (CHANGELOG.md); remake it with its "
                    "stage."
                ) from error
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
    lines = text_lines(utf8_text(Path(path).read_bytes(), str(path)))
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
