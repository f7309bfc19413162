"""A suite's configuration (workflow/config/<suite>.yaml), read strictly while Snakemake parses. No torch, no
pandas.

Config carries the science, profiles carry the machines. One file is one whole suite: files are not merged, so
that what is in the file is what runs; `--config key=value` replaces one top-level key, `--config
set="prompts.samples=3"` nested ones, and both are checked the same way.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import Field, model_validator

from baselines.spec import SAMPLED_SECTIONS, Baseline, Count, Section, kind_of, load_baseline
from baselines.strict_yaml import StrictLoader, parse_strict, validate_strict
from evaluation.dimensions import NAMES
from evaluation.text_only_dimensions import TEXT_ONLY, TEXT_ONLY_CONTROLS
from models.training.data_parallel import split_batch
from models.training.settings import RECIPES, DmdSettings, Execution, canonical
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.fetching.own_weights import OwnWeights
from workflow.planning.recipe_presets import preset_settings, with_training_prompts
from workflow.training.reward_names import check_rewards

OFFICIAL_BENCHMARKS = ("vbench",)
"""Benchmarks that the official VBench scores, in an environment of its own and in parts."""

RELEASED = "released"
"""As `weights`: every native row is sampled from its published files, and nothing is trained."""

SET = "set"
"""Key of `--config` under which dotted keys stand: Snakemake itself takes no dot in a key."""

GIVEN_BY_PRESET = ("raven", "cm_grpo")

DEFAULT_CONFIG = "workflow/config/toybox.yaml"

Name = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=60)]


class PromptSettings(Section):
    """Which prompts, and how often each is rendered."""

    list: Annotated[str, Field(min_length=1)] | None = None
    """The user's file of prompts (form: evaluation/prompt_lists.py), in place of the benchmark's list."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the toybox list; VBench's list is fixed and ignores it."""
    per_dimension: Count | None
    """At most the first so many prompts of each dimension; null takes all."""
    samples: Count | None = None
    """Clips of each prompt; with a list only if the list itself does not say."""
    static_samples: Count | None = None
    """Clips rendered of a still prompt (VBench: 25)."""
    static_keep: Count | None = None
    """Clips that the static filter keeps of a still prompt (VBench: 5)."""

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
        elif given := [key for key, value in benchmark.items() if value is not None]:
            raise ValueError(
                f"{', '.join(given)} mean nothing beside `list`, whose lines say how often each prompt is "
                "rendered and kept; remove them"
            )
        return self


class ClipSettings(Section):
    """What every clip must look like."""

    pixel_frames: Count
    height: Count
    width: Count
    fps: Count


class SampleSettings(Section):
    """How rows are sampled."""

    batch: Count
    """Clips made together; part of the result."""
    shards: Count
    """Jobs per row; of no influence on the result."""
    noise: Literal["portable", "upstream"]
    precision: Literal["exact", "fast", "float32"]


class ModelFiles(Section):
    """Files every native row needs beside its own weights, and the size of a latent frame."""

    codec: str
    """File of the codec, which turns latents into pixels."""
    text: str
    """File of the text encoder, which turns prompts into embeddings."""
    latent_height: Count
    """In latent pixels."""
    latent_width: Count
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
    gpus: nodes of the job, and GPUs (processes) of each. activation_checkpointing, keep, asynchronous,
    tensorboard, wandb, validate_every: see `Execution` (models/training/settings.py). None of these changes
    what comes out.
    """

    recipe: Literal["raven", "cm_grpo"]
    init: str
    teacher: str
    flavour: Literal["full", "adapter", "bundle", "merged"]
    fake: str | None = None
    prompts: str | None = None
    data: str | None = None
    rewards: str | None = None
    nodes: Count = 1
    gpus: Count = 1
    activation_checkpointing: bool = False
    keep: Count = 2
    asynchronous: bool = False
    tensorboard: bool = False
    wandb: Name | None = None
    validate_every: Annotated[int, Field(ge=0)] = 0
    settings: dict[str, Any] | None = None
    published: str | None = None
    baseline: Name | None = None
    title: Annotated[str, Field(min_length=1, max_length=80)] | None = None

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

    resources: tuple[Name, ...] = ("scorer",)
    """Groups of workflow/resources.yaml that it needs."""
    detectron2: Annotated[str, Field(min_length=1)] | None = None
    """A checkout or a wheel of detectron2, where its repository (null) cannot be reached."""
    parts: dict[Name, Count] = Field(default_factory=dict)
    """Jobs that a dimension is cut into; 1 if it is not named."""
    filter_parts: Count = 1
    """Jobs of the static filter."""
    threads: Count = 4
    """Of one job."""
    backend: Literal["fast", "official"] = "fast"
    """Batches and early stops ("fast"), or the package as it is; equal up to the rounding of sums
    (evaluation/vbench/README.md).
    """


class CustomPlan(Section):
    """A custom dimension (evaluation/README.md)."""

    file: Annotated[str, Field(min_length=1)]
    """Its Python file, seen from the repository."""
    prompts: Name = "all"
    """The dimension on whose prompts it is scored, or "all"."""


class AggregatePlan(Section):
    """Bootstrap draws over prompts, and their seed."""

    draws: Count
    seed: int


class ReportPlan(Section):
    """What the report holds."""

    clips_budget_mb: Annotated[float, Field(ge=0)]
    """Size of the clips inside the single file."""
    note: str | None
    """A sentence shown at its top."""


class Rates(Section):
    """Measured costs, for the estimate at the start, in seconds of one job slot (a core, or a GPU)."""

    train_s: float
    """Seconds of training a row."""
    clip_s: float
    """Seconds of sampling a clip."""
    score_clip_s: float
    """Seconds of scoring a clip on one dimension."""
    job_s: float
    """Seconds of starting a job."""
    clip_mb: float
    """Size of a clip in MB."""


class Suite(Section):
    """One suite: prompts, rows, sample counts, training and scoring."""

    suite: Name
    benchmark: Literal["toybox", "vbench"]
    """Where prompts and scorers come from."""
    label: str
    """What the report says about the suite at its top."""
    device: Literal["cpu", "cuda", "auto"]
    baselines: tuple[Name, ...]
    controls: tuple[Name, ...]
    """Rendered ones (`CONTROLS`), and `<kind>_of_<baseline>`, made from its clips (`CLIP_CONTROLS`)."""
    dimensions: Annotated[tuple[Name, ...], Field(min_length=1)]
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
    resources: tuple[Name, ...]
    """Groups of workflow/resources.yaml that must be fetched."""
    allow_external: tuple[Name, ...] = ()
    """Baselines of kind external whose code may run."""
    allow_degenerate: tuple[Name, ...] = ()
    """Rows of which near-black, flat and noise clips (evaluation/degenerate.py) are scored as they are."""
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
    def shards(self) -> tuple[str, ...]:
        """Names of a row's shards."""
        return tuple(f"{i}-of-{self.sample.shards}" for i in range(self.sample.shards))

    def allows_degenerate(self, row: str) -> bool:
        """Whether clips without a picture may go on to scoring. Controls are what they are by design."""
        return row in self.controls or row in self.allow_degenerate

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
        return canonical(self._train_settings(row, ""))

    def _train_settings(self, row: str, where: str) -> Any:
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
        return (self.train[row].baseline if row in self.train else None) or row

    def training_of(self, row: str) -> dict[str, Any]:
        """What decides a trained row's weights: its settings, and under `from` the files it starts from."""
        names = ("init", "teacher", "fake", "prompts", "data")
        return {**json.loads(self.train_settings(row)), "from": self.train[row].model_dump(include={*names})}

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
            other = own | dict(_leaves(json.loads(canonical(section))))
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


def load_suite(root: Path, files: Sequence[str | Path], replaced: Mapping[str, Any]) -> Suite:
    """The suite Snakemake was given: its one config file, with `--config` values in place of the file's.

    files: config files on the command line or in the profile (none: the embedded default); replaced:
    `--config` values. Raises ValueError that names file, key and allowed keys.
    """
    if len(files) > 1:
        raise ValueError(
            f"{len(files)} config files were given ({', '.join(map(str, files))}), but a suite is exactly "
            "one file; pass one --configfile, or copy the file and edit the copy."
        )
    where = config_name(root, files)
    path = root / where
    if not path.is_file():
        raise FileNotFoundError(
            f"Config file {where} does not exist; the shipped ones are in workflow/config/."
        )
    given = {key: _retyped(value) for key, value in replaced.items() if key != SET}
    values = read_mapping(path, where) | given
    for name, value in nested_values(replaced.get(SET)).items():
        _replace(values, name, value, where)
    return suite_from(values, where, root)


def nested_values(text: Any) -> dict[str, Any]:
    """Values by dotted key of `--config set="prompts.samples=3 sample.batch=2"`; empty for None.

    Quotes keep blanks together, as in a shell. Raises ValueError for a word that is no key=value.
    """
    found: dict[str, Any] = {}
    if not isinstance(text, str | None):
        raise ValueError(
            f"--config set is {text!r}, expected words key=value; give the keys of a mapping one by one."
        )
    for word in _words(text or ""):
        name, equals, value = word.partition("=")
        if not equals or not all(name.split(".")) or name in found:
            raise ValueError(
                f"--config set: {word!r} is no key=value, or names a key again; write "
                'set="prompts.samples=3 sample.batch=2".'
            )
        found[name] = yaml.load(value, Loader=StrictLoader)  # noqa: S506 (a SafeLoader)
    return found


def _words(text: str) -> list[str]:
    """Words of a text with quotes, of which Snakemake takes away the last. Raises ValueError."""
    for lost in ("", "'", '"'):
        try:
            return shlex.split(text + lost)
        except ValueError:
            continue
    raise ValueError(f"--config set: {text!r} has a quote that is not closed; close it.")


def _replace(values: dict[str, Any], name: str, value: Any, where: str) -> None:
    """Put a value in the place of that of a dotted key, without changing what is shared.

    Raises ValueError if it leads through something that is no mapping, or is not read at all.
    """
    *parents, last = name.split(".")
    if name.split(".")[0] in GIVEN_BY_PRESET and values.get("published") is not None:
        raise ValueError(
            f"{where}: --config set: {name} is given by the preset {values['published']!r}; set `published` "
            "to null and write the recipe's settings, or take it out."
        )
    for depth, parent in enumerate(parents):
        held = values.get(parent)
        if held is not None and not isinstance(held, dict):
            raise ValueError(
                f"{where}: --config set: {name} leads through {'.'.join(parents[: depth + 1])}, which is "
                f"{held!r} and has no keys; name a key that is there."
            )
        values[parent] = inner = dict(held or {})
        values = inner
    values[last] = value


def _retyped(value: Any) -> Any:
    """A `--config` value with numbers, truth values and nulls in place of their texts: Snakemake leaves text
    inside {} and [].
    """
    if isinstance(value, Mapping):
        return {key: _retyped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_retyped(item) for item in value]
    if isinstance(value, str):
        try:
            read = yaml.load(value, Loader=StrictLoader)  # noqa: S506 (a SafeLoader)
        except yaml.YAMLError:
            return value
        return value if isinstance(read, dict | list) else read
    return value


def config_name(root: Path, files: Sequence[str | Path]) -> str:
    """The suite's file, relative to the repository where it lies inside."""
    path = Path(files[0]) if files else Path(DEFAULT_CONFIG)
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def read_mapping(path: Path, where: str) -> dict[str, Any]:
    """The plain values of a suite's file. Raises ValueError if it is no mapping, or names a key twice."""
    return parse_strict(path.read_text(encoding="utf-8"), dict[str, Any], where=where)


def suite_from(values: Mapping[str, Any], where: str, root: Path) -> Suite:
    """A validated suite from plain values. Raises ValueError.

    A suite with a user's prompt list may leave `dimensions` out: then they are those that need no facts.
    """
    prompts, benchmark = values.get("prompts"), values.get("benchmark")
    if (
        values.get("dimensions") is None
        and isinstance(prompts, Mapping)
        and "list" in prompts
        and benchmark in TEXT_ONLY
    ):
        values = {**values, "dimensions": list(TEXT_ONLY[benchmark])}
    if values.get("weights") == RELEASED:
        values = {**values, **_released(values, where, root)}
    if isinstance(published := values.get("published"), str):
        try:
            values = {**values, **preset_settings(root, published)}
            if benchmark in OFFICIAL_BENCHMARKS and isinstance(train := values.get("train"), Mapping):
                values = {**values, "train": with_training_prompts(root, published, train)}
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    values = {**values, "train": _train_sections(values, where, root)}
    suite = validate_strict(dict(values), Suite, where=where)
    listed = suite.prompts.list
    if listed is not None and not listed.startswith(FETCHED_FOLDER) and not (root / listed).is_file():
        raise ValueError(
            f"{where}: prompts.list is {listed!r}, which is no file; give its path, seen from the repository."
        )
    for row in suite.controls:
        _check_control(suite, row, where)
    doubled = sorted({row for row in suite.rows if suite.rows.count(row) > 1})
    if doubled:
        raise ValueError(
            f"{where}: {', '.join(doubled)} is listed more than once among baselines and controls; list a "
            "row once."
        )
    for row in suite.baselines:
        file = f"baselines/{suite.baseline_of(row)}.yaml"
        if not (root / file).is_file():
            raise ValueError(f"{where}: baseline {row!r} has no file {file}; write it or take the row out.")
        kind = kind_of(root / file)
        _check_kind(suite, row, kind, where)
        if kind == "native" and (row in suite.weights) == (row in suite.train):
            raise ValueError(
                f"{where}: baseline {row!r} must be in exactly one of `weights` (a file) and `train` "
                f"(trained in the run), found in {'both' if row in suite.weights else 'neither'}."
            )
    for row in suite.allow_external:
        if row not in suite.baselines or kind_of(root / "baselines" / f"{row}.yaml") != "external":
            raise ValueError(
                f"{where}: allow_external names {row!r}, which is no external baseline of this suite; take "
                "it out, or add the row to `baselines`."
            )
    for row in suite.allow_degenerate:
        if row not in suite.rows:
            raise ValueError(
                f"{where}: allow_degenerate names {row!r}, which is no row of this suite; its rows are "
                f"{', '.join(suite.rows)}."
            )
    for row in (*suite.weights, *suite.train):
        if row not in suite.baselines and not any(plan.init == row for plan in suite.train.values()):
            raise ValueError(
                f"{where}: {row!r} has weights but is no row; add it to `baselines` or take its weights out."
            )
    for row, plan in suite.train.items():
        _check_train(suite, row, plan, where)
    _check_starts(suite, where)
    for dimension in suite.scoring.parts:
        if dimension not in NAMES:
            raise ValueError(
                f"{where}: scoring.parts names {dimension!r}, which is no dimension of VBench "
                f"({', '.join(NAMES)})."
            )
    return suite


def _check_control(suite: Suite, row: str, where: str) -> None:
    """Raises ValueError for a control that cannot be made in this suite."""
    made = f"{', '.join(f'{kind}_of_<baseline>' for kind in CLIP_CONTROLS)}, made from a baseline's clips"
    if (control := clip_control(row)) is not None:
        if control.source not in suite.baselines:
            raise ValueError(
                f"{where}: control {row!r} is made from the clips of {control.source!r}, which is no "
                f"baseline of this suite; its baselines are {', '.join(suite.baselines)}."
            )
    elif row not in CONTROLS:
        raise ValueError(
            f"{where}: unknown control {row!r}; the controls are {', '.join(CONTROLS)}, which are rendered, "
            f"and {made}."
        )
    elif suite.benchmark in OFFICIAL_BENCHMARKS and row not in TEXT_ONLY_CONTROLS:
        raise ValueError(
            f"{where}: control {row!r} is rendered from the embedded world's facts, which prompts of "
            f"{suite.benchmark} do not have; take {made}."
        )


def _train_sections(values: Mapping[str, Any], where: str, root: Path) -> Any:
    """`train` with the whole settings of every row that does not simply take its recipe's section.

    What is no mapping is left as it is, for the reader of the whole suite to refuse. Raises ValueError for a
    preset that does not exist.
    """
    train = values.get("train")
    if not isinstance(train, Mapping):
        return train
    whole = dict(train)
    for row, plan in train.items():
        if not isinstance(plan, Mapping) or plan.get("recipe") not in RECIPES:
            continue
        over, published = plan.get("settings"), plan.get("published")
        base = values.get(plan["recipe"])
        if isinstance(published, str):
            try:
                base = preset_settings(root, published)[plan["recipe"]]
                if values.get("benchmark") in OFFICIAL_BENCHMARKS:
                    plan = with_training_prompts(root, published, {row: plan})[row]
            except ValueError as error:
                raise ValueError(f"{where}: train.{row}.{error}") from None
        elif over is None:
            continue
        if isinstance(base, Mapping | None) and isinstance(over, Mapping | None):
            whole[row] = {**plan, "settings": {**(base or {}), **(over or {})}}
    return whole


def _released(values: Mapping[str, Any], where: str, root: Path) -> dict[str, Any]:
    """`weights`, `train` and `resources` of a suite that samples published files only.

    Raises ValueError if it has no row of ours, trains a variant, or fetches nothing, so that no published
    file can serve it.
    """
    weights = {}
    train = values.get("train")
    plans = train.items() if isinstance(train, Mapping) else ()
    variants = [row for row, plan in plans if isinstance(plan, Mapping) and plan.get("baseline")]
    if variants:
        raise ValueError(
            f"{where}: weights is {RELEASED!r}, but {', '.join(variants)} are variants that this suite "
            "trains, of which nothing is published; name other `baselines`, or give `weights` as files."
        )
    for row in values.get("baselines") or ():
        path = root / "baselines" / f"{row}.yaml"
        if path.is_file() and kind_of(path) == "native":
            weights[row] = f"{FETCHED_FOLDER}weights/{row}/{Path(load_baseline(path).weights.file).name}"
    groups = [group for group in values.get("resources") or () if group != "train"]
    if not groups or not weights:
        lacks = "has no native baseline" if groups else "fetches nothing (`resources` is empty)"
        raise ValueError(
            f"{where}: weights is {RELEASED!r}, but the suite {lacks}, so no published weights serve it; "
            "take `weights` out of --config (RELEASED=1 out of make), or choose a suite such as vbench."
        )
    return {"weights": weights, "train": {}, "resources": groups}


def _check_kind(suite: Suite, row: str, kind: str, where: str) -> None:
    """Raises ValueError for an external row that was not allowed, and for weights of a row that has no
    network.
    """
    if kind == "external" and row not in suite.allow_external:
        raise ValueError(
            f"{where}: baseline {row!r} is external, so its own code would run here, but `allow_external` "
            f"holds {', '.join(suite.allow_external) or 'no name'}; read that code, then add {row} to "
            "`allow_external` or take the row out."
        )
    if kind != "native" and (row in suite.weights or row in suite.train):
        raise ValueError(
            f"{where}: baseline {row!r} is of kind {kind}, which has no network of ours to load or train; "
            f"take it out of `{'weights' if row in suite.weights else 'train'}`."
        )


def read_suite(path: Path, root: Path, replaced: Mapping[str, Any] | None = None) -> Suite:
    """The suite in one file, for scripts that run without Snakemake."""
    return load_suite(root, [path], replaced or {})


def _check_starts(suite: Suite, where: str) -> None:
    """Raises ValueError for rows that start from each other."""
    for row, plan in suite.train.items():
        seen, start = [row], plan.init
        while start in suite.train:
            if start in seen:
                raise ValueError(
                    f"{where}: train.{row}.init leads back to {start!r} ({' -> '.join([*seen, start])}); let "
                    "one of them start from a file."
                )
            seen.append(start)
            start = suite.train[start].init


def _check_train(suite: Suite, row: str, plan: TrainPlan, where: str) -> None:
    if plan.settings is None and suite.section(plan.recipe) is None:
        raise ValueError(
            f"{where}: row {row!r} is trained by recipe {plan.recipe!r}, but the key {plan.recipe!r} is "
            "null; set it."
        )
    if (plan.recipe == "raven") != (plan.flavour == "full"):
        raise ValueError(
            f"{where}: train.{row}.flavour is {plan.flavour!r}; raven is always full, cm_grpo is adapter, "
            "bundle or merged."
        )
    if "/" not in plan.init and plan.init not in suite.train:
        raise ValueError(
            f"{where}: train.{row}.init is {plan.init!r}, neither a file nor a row of `train`; name one of "
            "them."
        )
    settings = suite._train_settings(row, f"{where}: ")
    wanted = isinstance(settings, DmdSettings) and settings.uses_data
    if wanted != (plan.data is not None):
        forcing = f"with forcing {settings.forcing!r} " if plan.recipe == "raven" else ""
        raise ValueError(
            f"{where}: train.{row}.data is {plan.data!r}, but {plan.recipe} {forcing}trains on "
            f"{'real clips; name their latents' if wanted else 'none; take it out'}."
        )
    if (plan.rewards is not None) != (plan.recipe == "cm_grpo" and plan.prompts is not None):
        raise ValueError(
            f"{where}: train.{row}.rewards is {plan.rewards!r} and its prompts {plan.prompts!r}; CM-GRPO "
            "on a list of prompts needs the folder of its rewards' weights, and nothing else has one."
        )
    if plan.rewards is not None:
        named = "cm_grpo" if plan.settings is None else f"train.{row}.settings"
        check_rewards(settings.rewards, f"{where}: {named}.rewards")
    try:
        split_batch(settings.samples, settings.micro_batches, rank=0, size=plan.nodes * plan.gpus)
    except ValueError as error:
        raise ValueError(f"{where}: train.{row}: {error}") from None


def sampling_settings(suite: Suite, baseline: Baseline) -> dict[str, Any]:
    """What decides a native row's clips, as plain values: no titles, licences and released weights."""
    return {
        **_common_settings(suite),
        **baseline.model_dump(mode="json", include=set(SAMPLED_SECTIONS)),
        "precision": suite.sample.precision,
        "latent_size": [suite.model.latent_height, suite.model.latent_width],
    }


def settings_in_use(suite: Suite, baseline: Baseline) -> dict[str, Any]:
    """What the report's audit shows of a native row: its sampling settings without those that the suite
    overrides.

    Portable noise replaces a method's own noise, and the float32 precision its dtypes.
    """
    shown = {**sampling_settings(suite, baseline), "suite": suite.suite}
    if suite.sample.noise == "portable":
        shown["noise"] = {"source": "portable", "draw_last": baseline.noise.draw_last}
        if suite.noise_key is not None:
            shown["noise"]["key"] = suite.noise_key
    else:
        shown["noise"] = {"source": "upstream", **shown["noise"]}
    if suite.sample.precision == "float32":
        del shown["dtypes"]
        shown["cache"] = {key: value for key, value in shown["cache"].items() if key != "ema_dtype"}
    return shown


def control_settings(suite: Suite, control: str) -> dict[str, Any]:
    """What decides a control row's clips beside those that it is made from, as plain values."""
    if (made := clip_control(control)) is not None:
        return {**_common_settings(suite), "control": made.kind, "of": made.source}
    return {**_common_settings(suite), "control": control}


def _common_settings(suite: Suite) -> dict[str, Any]:
    # "suite" is what noise is keyed by, under the name that every manifest's hash of settings was made with
    return {"suite": suite.keyed_by, "clip": suite.clip.model_dump(), "batch": suite.sample.batch}
