"""Versioned records that stages hand to each other, one JSON object a line or a file.

Every record is strict: an unknown, missing or doubled key, a number in quotes or out of its bounds, or a
control character in a text is an error. A file of records says the sha256 of its other bytes as `checksum`,
in its first object, so that no stage reads what another did not write. A changed meaning gets a new schema
version and a test that freezes the old one (tests/evaluation/test_records.py). Nothing here holds a time, a
host or a commit: two runs of the same inputs give the same bytes. Such facts go to timings.jsonl, which only
the report reads.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from evaluation.files import load_json, text_lines, utf8_text, write_text

SCHEMA_VERSION: Final = 1
CHECKSUM = re.compile(r'\{\s*"checksum":\s*"([0-9a-f]{64})",')
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain(value: Any) -> Any:
    """A value of JSON, unchanged. Raises ValueError if a text in it, or a key, holds a control character, or
    if a number is not finite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    texts = [value] if isinstance(value, str) else []
    if isinstance(value, dict):
        texts = [*value]
    for text in texts:
        if found := CONTROL_CHARACTER.search(text):
            raise ValueError(f"{text[:60]!r} holds the control character {found[0]!r}")
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            plain(part)
    return value


MOST_OTHERS = 0.1
"""Share of a machine's cores that other programs may keep busy while seconds are measured."""

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=120)]
ClipId = Annotated[str, Field(pattern=r"^[a-z0-9_]+-[0-9]+$", max_length=140)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PlainText = Annotated[str, AfterValidator(plain)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1, le=10**6)]
"""Of something that is there: pixels, frames, samples."""
Rate = Annotated[int | float, Field(gt=0, le=10**6)]
"""Frames per second; a whole number wherever it is one, so that it is written as one."""
NonNegative = Annotated[float, Field(ge=0)]
"""Seconds, MiB and the like."""
Probability = Annotated[float, Field(ge=0, le=1)]
ScorerKind = Literal["exact", "official", "stand-in", "custom"]
"""How a score was computed: from known facts, by VBench's own scorer, by a stand-in, or by a user's file."""
UNKNOWN_NOISE = "unknown"
"""Of clips that were made elsewhere: nobody knows their random numbers, nor what they cost."""
SecondScoring = Literal["extended_text", "unfiltered"]
"""How clips may be scored once more (evaluation/second_scores.py): by the text that rendered, or without
regard to the static filter."""
RowKind = Literal["native", "external", "import", "results", "teacher", "control", "shipped"]
"""teacher: what the other native rows are distilled from; compared with each of them, and not ranked."""


class Record(BaseModel):
    """Base of every record and of its parts: immutable, strict about keys, finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    checksum_required: ClassVar = True


class VersionedRecord(Record):
    """A record that is a file of its own, or a line of one; one of a later schema says so itself."""

    schema_version: Literal[1] = SCHEMA_VERSION


class CostlyRecord(VersionedRecord):
    """A record that costs a training to make again. Earlier versions wrote it without a checksum, and what it
    says of files is compared with them.
    """

    checksum_required: ClassVar = False


class Prompt(VersionedRecord):
    """One prompt of a suite."""

    id: Identifier
    prompt: PlainText
    """The short text, which names and scores the clip."""
    extended: PlainText
    """The text that models are given."""
    dimensions: tuple[Identifier, ...]
    samples: Positive
    """Clips rendered per row."""
    keep: Positive | None = None
    """How many of them the static filter keeps; None if it does not look at them."""
    facts: Annotated[dict[str, Any], AfterValidator(plain)]
    """Ground truth for the scorers, VBench's auxiliary_info."""


class Clip(VersionedRecord):
    """One rendered clip: a line of manifest.jsonl."""

    clip_id: ClipId
    row: Identifier
    prompt_id: Identifier
    sample: Natural
    file: Annotated[str, Field(pattern=r"^mp4/[a-z0-9_]+-[0-9]+\.mp4$")]
    """The mp4, relative to the row's folder: mp4/<clip_id>.mp4."""
    sha256: Sha256
    """Of the mp4's bytes."""
    latents_sha256: Sha256 | None
    """Of the float32 latents; None of a clip that no network of ours made."""
    noise: PlainText
    """How its random numbers were keyed, such as "portable:<suite>" or "upstream:<seed>"."""
    weights_sha256: Sha256 | None
    settings_sha256: Sha256
    """Of the canonical JSON of the row's sampling settings."""
    batch_size: Positive
    pixel_frames: Positive
    height: Positive
    width: Positive
    fps: Rate

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        name = clip_id(self.prompt_id, self.sample)
        if (self.clip_id, self.file) != (name, clip_file(name)):
            raise ValueError(
                f"clip {self.clip_id} in {self.file} is sample {self.sample} of {self.prompt_id}, whose clip "
                f"is {name} in {clip_file(name)}"
            )
        return self


class Load(Record):
    """What ran on a machine while a clip's batch was made."""

    cpu_s: NonNegative
    """Processor seconds of this clip's part of its batch, over all threads of its job."""
    others: Annotated[float, Field(ge=0, le=1)]
    """Share of the machine's cores that other programs kept busy, in the mean."""
    jobs: Natural
    """Other jobs of this program on the machine."""

    @property
    def alone(self) -> bool:
        """Whether seconds measured here are those of the clip and not of its neighbours."""
        return self.jobs == 0 and self.others <= MOST_OTHERS


class ClipTiming(Record):
    """What a clip cost and where it was made; read by the report only."""

    schema_version: Literal[2] = 2
    clip_id: ClipId
    row: Identifier
    sample_s: NonNegative
    """Seconds of this clip's part of its batch, as decode_s and write_s are."""
    decode_s: NonNegative
    write_s: NonNegative
    first_frames_s: NonNegative | None
    """From the batch's start to the first chunk's pixels; None where clips are not streamed."""
    network_calls: Natural
    peak_mb: NonNegative
    """Peak memory of the process, MiB."""
    peak_gpu_mb: NonNegative | None
    """Peak memory on its GPU, MiB."""
    device: PlainText
    attention: PlainText | None
    """The attention kernel; None where no network of ours ran."""
    load: Load | None
    """None where another program made the clip."""
    commit: PlainText
    finished: PlainText
    software: dict[PlainText, PlainText] = {}
    """Versions by name, see workflow/sampling/machine.py."""


class Inputs(Record):
    """Sha256 of the files that a record was computed from."""

    prompts: Sha256
    manifest: Sha256
    """Of the row's clips, whose own sha256 it holds; of imported scores their ImportedSource."""
    filtered: Sha256 | None = None
    """The row's FilteredSet; None of what the static filter itself computes."""


class Protocol(Record):
    """Under which rules numbers came about, beside prompts and weights: only numbers of one protocol may be
    compared. None of a part is what nobody said. evaluation/protocol.py derives it and puts it into words.
    """

    prompts: Literal["short", "extended", "other"] | None = None
    """The text that clips were rendered from."""
    text: Literal["short", "extended"] | None = None
    """The text that scorers read, where they read one."""
    static_filter: bool | None = None
    """Whether of the samples of still prompts only the first static ones are scored."""
    samples: Positive | None = None
    """Scored of a prompt. None also where prompts differ in it."""
    length: Literal["standard", "long"] | None = None
    """long: clips of more than ten seconds, which have a protocol of their own (VBench-Long)."""


class ImportedSource(Record):
    """Where the scores of a row without clips are from: imported/<row>.json, in the place of a manifest."""

    schema_version: Literal[2] = 2
    row: Identifier
    benchmark: Literal["toybox", "vbench"]
    """Whose scores they are."""
    sha256: Sha256
    """Of the file; of a folder over the names and sha256 of what was read."""
    of: Identifier | None = None
    """The row of the run.json that was read."""
    scorer: PlainText
    """As declared, as version and protocol are."""
    version: PlainText
    protocol: Protocol
    dimensions: tuple[Identifier, ...]
    passed_over: Natural = 0
    """Scores of clips that are of no prompt or sample of this run."""


class FilteredPrompt(Record):
    """Outcome of the static filter for one prompt: every value is kept, not only the winners."""

    prompt_id: Identifier
    motion: tuple[NonNegative, ...]
    """By sample, in the benchmark's unit; empty, as `static`, of somebody else's filter."""
    static: tuple[bool, ...]
    kept: tuple[Natural, ...]
    """Samples that are scored: the first static ones."""
    short: Natural
    """How many static samples were lacking."""

    @model_validator(mode="after")
    def _first_static(self) -> Self:
        if len(self.motion) != len(self.static):
            raise ValueError(f"{len(self.motion)} values of motion for {len(self.static)} samples")
        if not self.static and list(self.kept) == sorted(set(self.kept)):
            return self
        static = [sample for sample, still in enumerate(self.static) if still]
        if list(self.kept) != static[: len(self.kept) + self.short]:
            raise ValueError(
                f"samples {list(self.kept)} are kept, {self.short} are short, and {static} are static"
            )
        return self


class FilteredSet(Record):
    """Which samples of each prompt of a row go on to scoring, in numeric order."""

    schema_version: Literal[2] = 2
    row: Identifier
    inputs: Inputs
    threshold: Annotated[float, Field(gt=0)] | None
    """The motion between static samples and others. None of imported results: somebody else filtered them,
    and the motion of their samples is not known.
    """
    filtered: tuple[FilteredPrompt, ...]
    """The prompts with a `keep`."""
    kept: dict[Identifier, tuple[Natural, ...]]
    """Prompt id -> samples, for all prompts."""
    samples: Positive | None = None
    """Of each prompt the row has the first so many samples alone; None: all of them."""

    @model_validator(mode="after")
    def _one_outcome(self) -> Self:
        for entry in self.filtered:
            if self.kept.get(entry.prompt_id) != entry.kept:
                raise ValueError(f"kept and filtered differ in the samples of {entry.prompt_id}")
            if bool(entry.static) == (self.threshold is None):
                raise ValueError(f"{entry.prompt_id} has values of motion, or none, against the threshold")
            for motion, static in zip(entry.motion, entry.static, strict=True):
                assert self.threshold is not None, "there are values of motion with a threshold alone"
                if (motion > self.threshold) if static else (motion < self.threshold):
                    raise ValueError(
                        f"a sample of {entry.prompt_id} moves by {motion} and is {'' if static else 'not '}"
                        f"static, at a threshold of {self.threshold}"
                    )
        return self


class ClipScore(Record):
    """The score of one clip on one dimension, on the dimension's raw scale."""

    clip_id: ClipId
    prompt_id: Identifier
    sample: Natural
    value: float
    frame_values: tuple[float | None, ...] | None = None
    """[T], the same for each pixel frame, null where nothing was looked at; a value of two frames stands at
    the later one. None if the scorer does not work frame by frame."""
    pieces: tuple[float, ...] | None = None
    """Values of a long clip's pieces, as their scorer gave them; `value` is the mean of what they become."""
    between: float | None = None
    """Raw clip-to-clip consistency of a long clip, which is in the value of both consistencies."""


class CustomDimension(Record):
    """A dimension that a file of the user's adds; never part of a total."""

    name: Identifier
    title: PlainText
    unit: PlainText
    worst: float
    """Raw value in `unit` that normalises to 0; no score may lie outside worst and best."""
    best: float
    """Raw value that normalises to 100."""
    prompts: Identifier
    """The dimension whose prompts it is scored on, or "all"."""
    clips: Literal["kept", "all"] = "kept"
    """Of a still prompt: the samples that the static filter kept, or all."""
    file: PlainText
    """Where its function is, as the suite names it."""
    sha256: Sha256
    """Of that file."""


class DimensionResult(Record):
    """All scores of one row on one dimension."""

    schema_version: Literal[2, 3] = 3
    """2: without what pieces of long clips have, as they all were."""
    suite: PlainText
    row: Identifier
    dimension: Identifier
    inputs: Inputs
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
    versions: dict[PlainText, PlainText] = {}
    """What computed it, by name, where another package did; several are joined by commas."""
    second: SecondScoring | None = None
    """None of the row's own scores."""
    official_sha256: Sha256 | None = None
    """Of VBench's own JSON of the same scores, <dimension>.json beside it; None of a custom dimension."""


class WeightsManifest(CostlyRecord):
    """What `convert` (or a shipped file) hands to `sample`. Paths are relative to the manifest's folder."""

    name: Identifier
    flavour: Literal["full", "adapter", "bundle", "merged"]
    file: PlainText
    sha256: Sha256
    tensors: Positive
    base: PlainText | None = None
    """The file that an adapter needs."""
    base_sha256: Sha256 | None = None
    step: Natural | None = None


class TrainManifest(CostlyRecord):
    """What `train` hands on: deterministic facts of the finished checkpoint."""

    name: Identifier
    step: Natural
    tensors_sha256: Sha256
    """Over its tensors, in the order of their keys."""
    settings_sha256: Sha256
    init_sha256: Sha256
    metrics_sha256: Sha256 | None = None
    """Of metrics.jsonl; None of trainings of earlier versions."""


class Machine(CostlyRecord):
    """On what a training job ran when it was last started."""

    device: PlainText
    """Of the first process."""
    processes: Positive
    commit: PlainText
    software: dict[PlainText, PlainText]
    """Versions by name."""


class Interval(Record):
    """A mean and its 95 % bootstrap interval over prompts."""

    mean: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        rounding = 1e-9 * max(1.0, abs(self.low), abs(self.high))
        if not self.low - rounding <= self.mean <= self.high + rounding:
            raise ValueError(f"the mean {self.mean} lies outside its interval {self.low} to {self.high}")
        return self


class DimensionSummary(Record):
    """One cell of the table."""

    kind: ScorerKind
    raw: Interval
    """Percent, or the unit of a custom dimension."""
    normalised: Interval
    prompts: Positive
    clips: Positive
    left_out: Natural = 0
    """How many clips DimensionResult.left_out has."""
    several_processes: float | None = None
    """As in DimensionResult, in percent."""


class RankRange(Record):
    """The ranks that the corrected paired tests leave open to a row; 1 is the best."""

    first: Positive
    last: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.first > self.last:
            raise ValueError(f"ranks from {self.first} to {self.last}")
        return self

    def __str__(self) -> str:
        """`2` or `1 to 3`."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


class RowSummary(Record):
    """One row of the table."""

    row: Identifier
    label: PlainText
    kind: RowKind
    of: Identifier | None = None
    """The row whose clips a control is made from."""
    samples: Positive | None = None
    """As in FilteredSet. Its differences from other rows are on the samples that it has."""
    dimensions: dict[Identifier, DimensionSummary]
    quality: Interval | None
    """None, as the other totals, unless every dimension of the suite is there."""
    semantic: Interval | None
    total: Interval | None
    incomplete: PlainText | None
    """Why there are no totals."""
    ranks: dict[Identifier, RankRange] = {}
    """By metric, totals included; empty of a row that is not ranked."""
    protocol: Protocol | None = None
    """None of controls, which have a known answer under any, and of tables of earlier versions."""

    @property
    def totals(self) -> dict[str, Interval]:
        """Total, quality and semantic by name; empty of a row that is incomplete."""
        found = {"total": self.total, "quality": self.quality, "semantic": self.semantic}
        return {name: value for name, value in found.items() if value is not None}


class Needed(Record):
    """What a true difference of so many points would need to be found 80 times of 100, by the same test."""

    points: NonNegative
    prompts: Positive | None
    """Each with the samples of today. None if no number would do."""
    samples: Positive | None
    """Of each prompt, on the prompts of today. None if no number would do, since prompts differ too, or where
    prompts have one sample each, which tells nothing of seeds.
    """


class PairedDifference(Record):
    """Row `a` minus row `b` on common prompts."""

    a: Identifier
    b: Identifier
    metric: Identifier
    difference: Interval
    """Its interval is of 95 % for this pair alone, without any correction."""
    corrected: Interval
    """The same difference with the interval that goes with `holm`: simultaneous over the family of tests. It
    holds zero where holm >= 0.05, and at most touches it elsewhere.
    """
    p_value: Probability
    """By the paired bootstrap, or Student's t with few prompts."""
    holm: Probability
    """The same after Holm's correction over the family of tests it belongs to."""
    prompts: Positive
    detectable: NonNegative | None = None
    """The smallest true difference that this test finds 80 times of 100, at the level that it faced after
    Holm's correction. None where the prompts are too few for any, or do not differ.
    """
    needed: tuple[Needed, ...] = ()
    """Of Total, to find smaller ones."""


class TablePower(Record):
    """What two rows of the table can show of Total: medians over all pairs of ranked rows."""

    tests: Positive
    """Pairs, which is what p-values are corrected for."""
    prompts: Positive
    samples: NonNegative
    """Of each prompt, their mean."""
    smallest: NonNegative
    """The least PairedDifference.detectable of any pair; `largest` the greatest."""
    detectable: NonNegative
    """The median of PairedDifference.detectable, in points."""
    largest: NonNegative
    needed: tuple[Needed, ...]


class TableInputs(Record):
    """Sha256 of the files that a table was computed from."""

    prompts: Sha256
    filtered: dict[Identifier, Sha256]
    """The FilteredSet of each row."""
    results: dict[Identifier, dict[Identifier, Sha256]]
    """Row -> dimension -> its DimensionResult."""
    second: dict[Identifier, dict[SecondScoring, dict[Identifier, Sha256]]] = {}
    """Row -> second scoring -> dimension -> its DimensionResult."""


class ScoresTable(Record):
    """aggregate/scores.json: everything the report's numbers come from."""

    schema_version: Literal[3] = 3
    suite: PlainText
    inputs: TableInputs
    benchmark: Literal["toybox", "vbench"]
    """Whose scale and formula its numbers are of."""
    dimensions: tuple[Identifier, ...]
    """Those of the sixteen that were asked for."""
    custom: tuple[CustomDimension, ...] = ()
    """Dimensions of the user's."""
    subset: PlainText | None = None
    """A sentence that says what a subset run leaves out; None of a whole run."""
    rows: tuple[RowSummary, ...]
    pairs: tuple[PairedDifference, ...]
    """Any two models, then every model minus every control. The tests of one control are families of their
    own."""
    power: TablePower | None = None
    """None where fewer than two rows have a total."""
    draws: Positive
    seed: Natural


AnyRecord = TypeVar("AnyRecord", bound=Record)


def parse(kind: type[AnyRecord], text: str, where: str) -> AnyRecord:
    """A record from JSON text. Raises ValueError naming the place and its version or every wrong key."""
    value = load_json(text, where, numbers=False)
    version = kind.model_fields.get("schema_version")
    found = value.get("schema_version") if isinstance(value, dict) else None
    if version is not None and isinstance(value, dict) and (type(found), found) != (int, version.default):
        raise ValueError(
            f"{where} has {'no schema_version' if found is None else f'schema_version {found}'}, expected "
            f"{version.default} of a {kind.__name__} record: another version of this program wrote it, with "
            "other keys (CHANGELOG.md); remake it with its stage."
        )
    try:
        return kind.model_validate_json(text, strict=True)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the record'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ValueError(
            f"{where} is not a valid {kind.__name__} record ({wrong}); remake it with its stage."
        ) from error


def read_json(kind: type[AnyRecord], path: Path | str) -> AnyRecord:
    """One record from one file. Raises FileNotFoundError or ValueError with the file's name."""
    body, intact = without_checksum(utf8_text(Path(path).read_bytes(), str(path)))
    record = parse(kind, body, str(path))
    _refuse_changed(path, intact if kind.checksum_required else intact is not False)
    return record


def read_jsonl(kind: type[AnyRecord], path: Path | str) -> list[AnyRecord]:
    """Records of a .jsonl file, in order. Raises ValueError naming the file, and the line if it is wrong."""
    body, intact = without_checksum(utf8_text(Path(path).read_bytes(), str(path)))
    records = [parse(kind, line, f"{path} line {number}") for number, line in enumerate(text_lines(body), 1)]
    if records:
        _refuse_changed(path, intact)
    return records


def log_line(record: BaseModel) -> str:
    """A record as a line of a file that is added to (evaluation/files.py), with a checksum of its own."""
    return with_checksum(record.model_dump_json())


def parse_log_line(kind: type[AnyRecord], line: str, where: str) -> AnyRecord:
    """A record of `log_line`, in which earlier versions wrote no checksum. Raises ValueError with `where`."""
    body, intact = without_checksum(line)
    record = parse(kind, body, where)
    _refuse_changed(where, intact is not False)
    return record


def _refuse_changed(path: Path | str, intact: bool | None) -> None:
    if not intact:
        raise ValueError(
            f"{path} {'has no checksum' if intact is None else 'is not what its checksum says'}: it was "
            "edited, cut off or damaged since its stage wrote it; delete it and run again, its stage remakes "
            "it."
        )


def with_checksum(text: str) -> str:
    """JSON text that begins with an object, which now says the sha256 of `text` as its `checksum`."""
    return f'{{"checksum":"{hashlib.sha256(text.encode()).hexdigest()}",{text[1:]}' if text else text


def without_checksum(text: str) -> tuple[str, bool | None]:
    """The text as it was given to `with_checksum`, and whether it is that; None if it has no checksum."""
    found = CHECKSUM.match(text)
    if found is None:
        return text, None
    body = "{" + text[found.end() :]
    return body, hashlib.sha256(body.encode()).hexdigest() == found[1]


def write_json(path: Path | str, record: BaseModel) -> None:
    """One record, indented, with its checksum and a final newline; byte for byte reproducible."""
    write_text(path, with_checksum(record.model_dump_json(indent=1) + "\n"))


def write_jsonl(path: Path | str, records: Iterable[BaseModel]) -> None:
    """Records one a line, in the given order; the first says the checksum of all."""
    write_text(path, with_checksum("".join(record.model_dump_json() + "\n" for record in records)))


def clip_id(prompt_id: str, sample: int) -> str:
    """Name of a clip: `<prompt_id>-<sample>`. Raises ValueError if the prompt id is not [a-z0-9_]+."""
    if not re.fullmatch(r"[a-z0-9_]+", prompt_id):
        raise ValueError(
            f"prompt id {prompt_id!r} has characters outside [a-z0-9_]; rename it in the prompt list."
        )
    return f"{prompt_id}-{sample}"


def clip_file(clip: str) -> str:
    """Where a clip lies in its row's folder, by its id."""
    return f"mp4/{clip}.mp4"
