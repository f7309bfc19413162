"""A suite's configuration (workflow/config/<suite>.yaml): its keys and what follows from them. No torch, no
pandas; workflow/planning/suite_file.py reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from baselines.fields import Count, Seed, unique
from baselines.native import Baseline
from baselines.strict_yaml import PlainLine, Section, validate_strict
from evaluation.files import load_json
from evaluation.records import SecondScoring
from evaluation.second_scores import SECOND_DIMENSIONS
from models.training.settings import RECIPES, Execution, canonical
from workflow.fetching.own_weights import OwnWeights

OFFICIAL_BENCHMARKS = ("vbench",)
"""Benchmarks that the official VBench scores, in an environment of its own and in parts."""

LATENT_STRIDE = 4
"""Pixel frames of a latent frame behind the first, and the least pixels of a latent's side."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=60)]
Names = Annotated[tuple[Name, ...], AfterValidator(unique)]
Pixels = Annotated[int, Field(ge=1, le=16_384)]
Machines = Annotated[int, Field(ge=1, le=10_000)]
"""Nodes, GPUs of a node, cores or parts."""
NotNegative = Annotated[float, Field(ge=0, le=1e12)]


class PromptSettings(Section):
    """Which prompts, and how often each is rendered."""

    list: Annotated[str, Field(min_length=1)] | None = None
    """The user's file of prompts (form: evaluation/prompt_lists.py), in place of the benchmark's list."""
    seed: Seed | None = None
    """Seed of the toybox list; VBench's list is fixed and ignores it."""
    per_dimension: Count | None
    """At most the first so many prompts of each dimension; null takes all."""
    samples: Count | None = None
    """Clips of each prompt; with a list only if the list itself does not say."""
    static_samples: Count | None = None
    """Clips rendered of a still prompt (VBench: 25)."""
    static_keep: Count | None = None
    """Clips that the static filter keeps of a still prompt (VBench: 5)."""
    counts: dict[Name, Count] | None = None
    """How many clips there are of each prompt of the benchmark's list, by id, where clips made elsewhere are
    not all of them; other prompts are left out, and no row has a total.
    """
    scored_only: bool = False
    """Whether no model is given the texts of `list`, so that they need no words of the embedded world."""
    imported: Literal["all", "common"] | None = None
    """Of a suite whose rows are all imported results, so that prompts of `list` need no facts: whether each
    must have all of it, or scores of other prompts and samples are passed over, and no row has a total.
    """

    @model_validator(mode="after")
    def check_list(self) -> PromptSettings:
        """Raises ValueError if a key of the benchmark's list is missing, or stands beside a user's list."""
        benchmark = {
            "seed": self.seed,
            "static_samples": self.static_samples,
            "static_keep": self.static_keep,
        }
        if self.list is None:
            missing = [key for key, value in (benchmark | {"samples": self.samples}).items() if value is None]
            if missing:
                raise ValueError(
                    f"it lacks {', '.join(missing)}; add them, or give a file of prompts as `list`"
                )
            assert self.static_keep is not None, "none is missing"
            if self.static_keep > (self.static_samples or 0):
                raise ValueError(
                    f"static_keep is {self.static_keep} and static_samples {self.static_samples}, but no "
                    "more clips are kept than rendered; lower the first or raise the second"
                )
        elif given := [
            key for key, value in (benchmark | {"counts": self.counts}).items() if value is not None
        ]:
            raise ValueError(
                f"{', '.join(given)} mean nothing beside `list`, whose lines say how often each prompt is "
                "rendered and kept; remove them"
            )
        return self


LONG_SECONDS = 10
"""Clips that are longer have curves by the second (a minute has 80 chunks), and their pixels are measured."""


class ClipSettings(Section):
    """What every clip must look like."""

    pixel_frames: Annotated[int, Field(ge=2, le=400_000)]
    height: Pixels
    width: Pixels
    fps: Annotated[int, Field(ge=1, le=1000)]

    @property
    def long_fps(self) -> int | None:
        """Frames a second of clips that are longer than LONG_SECONDS; None of others."""
        return self.fps if self.pixel_frames > LONG_SECONDS * self.fps else None

    @property
    def seconds(self) -> float:
        """How long a clip plays."""
        return self.pixel_frames / self.fps

    @property
    def latent_frames(self) -> int:
        """Latent frames of a clip. Raises ValueError for a number of pixel frames that they do not make."""
        behind_the_first = self.pixel_frames - 1
        if behind_the_first % LATENT_STRIDE:
            low = self.pixel_frames - behind_the_first % LATENT_STRIDE
            raise ValueError(
                f"clip.pixel_frames is {self.pixel_frames}, but latent frames make 1 and then "
                f"{LATENT_STRIDE} pixel frames each; set it to {low} or {low + LATENT_STRIDE}."
            )
        return behind_the_first // LATENT_STRIDE + 1

    def seconds_of(self, latent_frames: int) -> float:
        """How long a clip of so many latent frames plays."""
        return (LATENT_STRIDE * (latent_frames - 1) + 1) / self.fps


class SampleSettings(Section):
    """How rows are sampled."""

    batch: Annotated[int, Field(ge=1, le=1024)]
    """Clips made together; part of the result."""
    shards: Annotated[int, Field(ge=1, le=10_000)]
    """Jobs per row; of no influence on the result."""
    noise: Literal["portable", "upstream"]
    precision: Literal["exact", "fast", "float32"]


class VariantPlan(Section):
    """A row that is sampled as another row of the suite, with its weights, but for one thing or two, which
    its label and its settings say. None of these is ever a default.

    baseline: that other row, a native one. precision: fp8 (linear layers and attention), or one of the two;
    null for the suite's. decoder: tiny for `model.tiny_decoder` in place of the codec; null for the codec.
    """

    baseline: Name
    precision: Literal["fp8", "fp8_linear", "fp8_attention"] | None = None
    decoder: Literal["tiny"] | None = None

    @model_validator(mode="after")
    def check_that_it_differs(self) -> VariantPlan:
        """Raises ValueError for a row that is the other one again."""
        if self.precision is None and self.decoder is None:
            raise ValueError(
                f"it has neither a precision nor a decoder of its own, so it would be {self.baseline} again; "
                "give one of them, or take it out"
            )
        return self

    @property
    def label(self) -> str:
        """What stands behind the title of the row that it varies."""
        own = {"precision": self.precision, "decoder": self.decoder}
        return ", ".join(f"{key}: {value}" for key, value in own.items() if value is not None)


class ModelFiles(Section):
    """Files every native row needs beside its own weights, and the size of a latent frame."""

    codec: str
    """File of the codec, which turns latents into pixels."""
    text: str
    """File of the text encoder, which turns prompts into embeddings."""
    tiny_decoder: str | None = None
    """File of the small decoder that variants may ask for (models/tiny_decoder.py)."""
    latent_height: Pixels
    """In latent pixels."""
    latent_width: Pixels
    """In latent pixels."""


class TrainPlan(Section):
    """A row trained in the run. init: a file, or the name of another trained row; teacher: a file.

    settings: whole keys of the recipe's settings that this row has otherwise. published: a preset in place of
    the recipe's section, as in a suite (workflow/planning/recipe_presets.py); `settings` then stand over it.
    baseline: whose file says how the row is sampled, None for the row's own. title: its label in the report,
    None for that of its baseline and what differs.

    fake: file that RAVEN's fake score starts from, null for the teacher's. prompts: file with a training
    prompt on each line, null for the embedded world's captions. data: latents of real clips for the forcings
    that train on them (models/training/clips.py); `prompts` are then their captions, a line each, or null for
    clips of the embedded world. rewards: folder with the weights of CM-GRPO's rewards of real clips
    (workflow/training/rewards.py), null for the embedded checkers.

    flavour: which of the files that `convert` writes is sampled; only CM-GRPO has others than "full". nodes,
    gpus: nodes of the job, and GPUs (processes) of each. activation_checkpointing, rollout_graphs, keep,
    asynchronous, tensorboard, wandb, validate_every: see `Execution` (models/training/settings.py). None of
    these changes what comes out.
    """

    recipe: Literal["raven", "cm_grpo"]
    init: str
    teacher: str
    flavour: Literal["full", "adapter", "bundle", "merged"]
    fake: str | None = None
    prompts: str | None = None
    data: str | None = None
    rewards: str | None = None
    nodes: Machines = 1
    gpus: Machines = 1
    activation_checkpointing: bool = False
    rollout_graphs: bool = True
    keep: Count = 2
    asynchronous: bool = False
    tensorboard: bool = False
    wandb: Name | None = None
    validate_every: Annotated[int, Field(ge=0)] = 0
    settings: dict[str, Any] | None = None
    published: str | None = None
    baseline: Name | None = None
    title: Annotated[PlainLine, Field(max_length=80)] | None = None

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks that training starts from."""
        return tuple(name for name in (self.init, self.teacher, self.fake) if name)

    @property
    def execution(self) -> str:
        """Canonical JSON of how the run is carried out."""
        return canonical(
            Execution(**self.model_dump(include={f.name for f in dataclasses.fields(Execution)}))
        )


class ScoringPlan(Section):
    """How the official scorer is run. Nothing here changes a number, but for `backend` in its last digits."""

    resources: Names = ("scorer",)
    """Groups of workflow/resources.yaml that it needs."""
    detectron2: Annotated[str, Field(min_length=1)] | None = None
    """A checkout or a wheel of detectron2, where its repository (null) cannot be reached."""
    parts: dict[Name, Machines] = Field(default_factory=dict)
    """Jobs that a dimension is cut into; 1 if it is not named."""
    filter_parts: Machines = 1
    """Jobs of the static filter."""
    threads: Machines = 4
    """Of one job."""
    pieces: Literal["direct", "official"] = "direct"
    """How the pieces of long clips are written: without loss, or encoded again as VBench-Long does, whose
    numbers papers print (evaluation/vbench/README.md#long-videos).
    """
    backend: Literal["fast", "official"] = "fast"
    """Batches and early stops ("fast"), or the package as it is; equal up to the rounding of sums
    (evaluation/vbench/README.md).
    """
    texts: Annotated[
        tuple[Literal["short", "extended"], ...], Field(min_length=1), AfterValidator(unique)
    ] = ("short",)
    """Texts that score, where a scorer reads one. The short one makes every number of the table; with the
    extended one clips are scored once more, for "What the protocol moves" alone.
    """
    unfiltered: bool = False
    """Whether the first samples of still prompts are scored once more without regard to the static filter,
    for the same section.
    """


class CustomPlan(Section):
    """A custom dimension (evaluation/README.md)."""

    file: Annotated[str, Field(min_length=1)]
    """Its Python file, seen from the repository."""
    prompts: Name = "all"
    """The dimension on whose prompts it is scored, or "all"."""


class AggregatePlan(Section):
    """Bootstrap draws over prompts, and their seed."""

    draws: Annotated[int, Field(ge=100, le=100_000)]
    seed: Seed


class ReportPlan(Section):
    """What the report holds."""

    clips_budget_mb: NotNegative
    """Size of the clips inside the single file."""
    note: PlainLine | None
    """A sentence shown at its top."""
    notes: tuple[Annotated[str, Field(min_length=1, max_length=4000)], ...] = ()
    """What `raven-bench score` found, shown behind it."""


class Rates(Section):
    """Measured costs, for the estimate at the start, in seconds of one job slot (a core, or a GPU)."""

    train_s: NotNegative
    """Seconds of training a row."""
    sample_s: NotNegative
    """Seconds of sampling a second of video."""
    row_sample_s: dict[Name, NotNegative] = Field(default_factory=dict)
    """The same of rows that cost more, such as a teacher."""
    score_s: NotNegative
    """Seconds of scoring a second of video on one dimension."""
    job_s: NotNegative
    """Seconds of starting a job."""
    video_mb: NotNegative
    """Size of a second of video in MB."""


class Suite(Section):
    """One suite: prompts, rows, sample counts, training and scoring."""

    suite: Name
    benchmark: Literal["toybox", "vbench"]
    """Where prompts and scorers come from."""
    label: PlainLine
    """What the report says about the suite at its top."""
    device: Literal["cpu", "cuda", "auto"]
    baselines: Names
    row_files: Annotated[str, Field(min_length=1)] = "baselines"
    """Folder of the baselines' files, seen from the repository."""
    controls: Names
    """Rendered ones (`CONTROLS`), and `<kind>_of_<baseline>`, made from its clips (`CLIP_CONTROLS`)."""
    dimensions: Annotated[Names, Field(min_length=1)]
    custom_dimensions: dict[Name, CustomPlan] = Field(default_factory=dict)
    """Dimensions that a user's files add, never part of a total."""
    prompts: PromptSettings
    clip: ClipSettings
    sample: SampleSettings
    model: ModelFiles
    weights: dict[Name, str | OwnWeights]
    """Files of the rows that are not trained in the run: a path, or what the file does not say beside it;
    `RELEASED` in the suite's file for the published ones of all rows.
    """
    train: dict[Name, TrainPlan]
    variants: dict[Name, VariantPlan] = Field(default_factory=dict)
    """Rows that are another row but for their precision or decoder; they share its weights and noise."""
    raven: dict[str, Any] | None
    """Settings of the recipe RAVEN."""
    cm_grpo: dict[str, Any] | None
    """Settings of the recipe CM-GRPO."""
    published: str | None = None
    """A preset in place of `raven` and `cm_grpo` (workflow/planning/recipe_presets.py)."""
    scoring: ScoringPlan = ScoringPlan()
    aggregate: AggregatePlan
    report: ReportPlan
    rates: Rates
    resources: Names
    """Groups of workflow/resources.yaml that must be fetched."""
    allow_external: Names = ()
    """Baselines of kind external whose code may run."""
    allow_degenerate: Names = ()
    """Rows of which near-black, flat and noise clips (evaluation/degenerate.py) are scored as they are."""
    row_samples: dict[Name, Count] = Field(default_factory=dict)
    """Teachers of which only the first so many samples of each prompt are made; each is compared with the
    other rows on these samples."""
    stress: bool = False
    """Whether rows may be sampled beyond the length that they are made for; they are labelled everywhere."""
    without_clips: Names = ()
    """Baselines of kind results, as their files say: whoever reads the suite fills it in."""
    noise_key: Name | None = None
    """First part of the key of every portable draw, and of every seed of a work list; null: the suite's name.
    Suites with one key and one list of prompts draw the same noise.
    """

    @property
    def keyed_by(self) -> str:
        """What noise and seeds are keyed by."""
        return self.noise_key or self.suite

    @property
    def rows(self) -> tuple[str, ...]:
        """Lines of the table: baselines, then controls."""
        return self.baselines + self.controls

    @property
    def rows_with_clips(self) -> tuple[str, ...]:
        """Rows whose clips are made or taken in."""
        return tuple(row for row in self.rows if row not in self.without_clips)

    @property
    def shards(self) -> tuple[str, ...]:
        """Names of a row's shards."""
        return tuple(f"{i}-of-{self.sample.shards}" for i in range(self.sample.shards))

    def allows_degenerate(self, row: str) -> bool:
        """Whether clips without a picture may go on to scoring. Controls are what they are by design."""
        return row in self.controls or row in self.allow_degenerate

    @property
    def second_scores(self) -> dict[SecondScoring, tuple[str, ...]]:
        """Which dimensions are scored once more, and otherwise in what."""
        known = SECOND_DIMENSIONS[self.benchmark]
        asked: dict[SecondScoring, bool] = {
            "extended_text": "extended" in self.scoring.texts,
            "unfiltered": self.scoring.unfiltered,
        }
        return {
            second: tuple(name for name in known[second] if name in self.dimensions)
            for second, wanted in asked.items()
            if wanted
        }

    @property
    def whole(self) -> bool:
        """Whether every prompt and sample that the suite is about is rendered or there."""
        return self.prompts.counts is None and self.prompts.imported != "common"

    def original(self, row: str) -> str:
        """The row whose weights a row is sampled from: itself, but for variants."""
        return self.variants[row].baseline if row in self.variants else row

    def has_weights(self, row: str) -> bool:
        """Whether a row is sampled here, from a file or from what is trained in the run."""
        return self.original(row) in self.weights or self.original(row) in self.train

    def codec_of(self, row: str) -> str:
        """The file that turns a row's latents into pixels."""
        tiny = row in self.variants and self.variants[row].decoder == "tiny"
        return (self.model.tiny_decoder or "") if tiny else self.model.codec

    def precision_of(self, row: str) -> str:
        """The precision that a native row is sampled in."""
        own = self.variants[row].precision if row in self.variants else None
        return own or self.sample.precision

    def weights_path(self, row: str) -> str:
        """Path of the weights of a row that is not trained in the run."""
        held = self.weights[row]
        return held if isinstance(held, str) else held.path

    def score_parts(self, dimension: str) -> tuple[str, ...]:
        """Names of the parts of a dimension, where it is scored in parts."""
        count = self.scoring.parts.get(dimension, 1)
        return tuple(f"{i}-of-{count}" for i in range(count))

    @property
    def filter_parts(self) -> tuple[str, ...]:
        """Names of the parts of the static filter, where it runs in parts."""
        return tuple(f"{i}-of-{self.scoring.filter_parts}" for i in range(self.scoring.filter_parts))

    def train_settings(self, row: str) -> str:
        """Canonical JSON of a trained row's settings, defaults filled in."""
        return canonical(self.recipe_settings(row, ""))

    def recipe_settings(self, row: str, where: str) -> Any:
        """The row's settings as its recipe's dataclass. Raises ValueError, which begins with `where`."""
        plan = self.train[row]
        kind: Any = RECIPES[plan.recipe]
        if plan.settings is None:
            return validate_strict(self.section(plan.recipe), kind, where=f"{where}{plan.recipe}")
        nested: Any = dict[str, dict[str, dict[str, kind]]]
        values = {"train": {row: {"settings": plan.settings}}}
        return validate_strict(values, nested, where=where.removesuffix(": "))["train"][row]["settings"]

    def section(self, recipe: str) -> dict[str, Any] | None:
        """The suite's settings of a recipe, as written."""
        return {"raven": self.raven, "cm_grpo": self.cm_grpo}[recipe]

    def baseline_of(self, row: str) -> str:
        """The baseline whose file says how a row is sampled: the row itself, but for variants of another."""
        row = self.original(row)
        return (self.train[row].baseline if row in self.train else None) or row

    def training_of(self, row: str) -> dict[str, Any]:
        """What decides a trained row's weights: its settings, and under `from` the files it starts from."""
        names = ("init", "teacher", "fake", "prompts", "data")
        return {
            **load_json(self.train_settings(row), row),
            "from": self.train[row].model_dump(include={*names}),
        }

    def training_differences(self, row: str) -> dict[str, Any]:
        """A trained row's values of the settings that are not the same in all rows of its recipe, by dotted
        key.
        """
        recipe = self.train[row].recipe
        every = {
            one: dict(_leaves(self.training_of(one)))
            for one, plan in self.train.items()
            if plan.recipe == recipe
        }
        keys = dict.fromkeys(key for values in every.values() for key in values)
        return {
            key: every[row].get(key)
            for key in keys
            if any(values.get(key) != every[row].get(key) for values in every.values())
        }

    def variant_name(self, row: str) -> str:
        """What a row has otherwise than the trained row or recipe that it is a variant of; empty if it is
        none, or nothing differs.
        """
        plan = self.train.get(row)
        if plan is None or plan.baseline is None:
            return ""
        own = dict(_leaves(self.training_of(row)))
        if plan.baseline in self.train and self.train[plan.baseline].recipe == plan.recipe:
            other = dict(_leaves(self.training_of(plan.baseline)))
        elif plan.published is not None:
            return plan.published
        else:
            section: Any = validate_strict(
                self.section(plan.recipe) or {}, RECIPES[plan.recipe], where=plan.recipe
            )
            other = own | dict(_leaves(load_json(canonical(section), row)))
        differing = [key for key in (own | other) if own.get(key) != other.get(key)]
        return ", ".join(f"{key.removeprefix('from.')} {_in_words(own.get(key))}" for key in differing)


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted key; a list is one value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _in_words(value: Any) -> str:
    """A setting in a label; of a path the last two parts."""
    if isinstance(value, str) and "/" in value:
        return "/".join(Path(value).parts[-2:])
    return "none" if value is None else str(value)


CONTROLS = {
    "truth": "Rendered truth",
    "noise": "Noise",
    "truth_shuffled_captions": "Truth, captions shuffled",
    "shuffled_frames": "Truth, frames shuffled",
    "frozen_first_frame": "Truth, first frame frozen",
    "frozen_after_window": "Truth, frozen after 81 frames",
    "fade": "Truth, fading to 0.6",
    "loop": "Truth, 84 frames again and again",
    "chunk_flicker": "Truth, even chunks 8 levels brighter",
}


CLIP_CONTROLS = {
    "noise": "its colours as noise",
    "frozen_first_frame": "first frame frozen",
    "shuffled_frames": "frames shuffled",
    "shuffled_captions": "captions shuffled",
}
"""Kinds of such controls, as the report names them behind the row's title."""


class ClipControl(NamedTuple):
    """What a row's name says: `<kind>_of_<source>`."""

    kind: str
    source: str
    """The row whose clips it is made from."""


def clip_control(row: str) -> ClipControl | None:
    """What a control row is made from; None if its name is not of this form."""
    kind, of, source = row.partition("_of_")
    return ClipControl(kind, source) if of and source and kind in CLIP_CONTROLS else None


def sampling_settings(suite: Suite, baseline: Baseline, row: str = "") -> dict[str, Any]:
    """What decides a native row's clips, as plain values: no titles, licences and released weights.

    row: where it may be a variant.
    """
    plan = suite.variants.get(row)
    return {
        **_common_settings(suite),
        **baseline.at_length(suite.clip.latent_frames).sampled(),
        "precision": suite.precision_of(row),
        "latent_size": [suite.model.latent_height, suite.model.latent_width],
        **({"decoder": plan.decoder} if plan is not None and plan.decoder else {}),
    }


def settings_in_use(suite: Suite, baseline: Baseline, row: str = "") -> dict[str, Any]:
    """What the report's audit shows of a native row: its sampling settings without those that the suite
    overrides.

    Portable noise replaces a method's own noise, and the float32 precision its dtypes.
    """
    shown = {**sampling_settings(suite, baseline, row), "suite": suite.suite}
    if suite.sample.noise == "portable":
        shown["noise"] = {"source": "portable", "draw_last": baseline.noise.draw_last}
        if suite.noise_key is not None:
            shown["noise"]["key"] = suite.noise_key
    else:
        shown["noise"] = {"source": "upstream", **shown["noise"]}
    if suite.sample.precision == "float32":
        del shown["dtypes"]
    if suite.sample.precision == "float32" and baseline.cache is not None:
        shown["cache"] = {key: value for key, value in shown["cache"].items() if key != "ema_dtype"}
    if suite.benchmark == "toybox" and shown["schedule"].get("negative"):
        shown["schedule"] = {**shown["schedule"], "negative": "the empty prompt"}
    return shown


def control_settings(suite: Suite, control: str) -> dict[str, Any]:
    """What decides a control row's clips beside those that it is made from, as plain values."""
    if (made := clip_control(control)) is not None:
        return {**_common_settings(suite), "control": made.kind, "of": made.source}
    return {**_common_settings(suite), "control": control}


def _common_settings(suite: Suite) -> dict[str, Any]:
    # "suite" is what noise is keyed by, under the name that every manifest's hash of settings was made with
    return {"suite": suite.keyed_by, "clip": suite.clip.model_dump(), "batch": suite.sample.batch}
