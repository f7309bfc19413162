"""A suite's file, read strictly while Snakemake parses, and checked as a whole. No torch.

Config carries the science, profiles carry the machines. One file is one whole suite: files are not merged, so
that what is in the file is what runs; `--config key=value` replaces one top-level key, `--config
set="prompts.samples=3"` nested ones, and both are checked the same way.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from baselines.foreign import ResultsBaseline
from baselines.native import Baseline
from baselines.spec import AnyBaseline, kind_of, load_baseline, load_row
from baselines.strict_yaml import load_yaml, read_strict, validate_strict
from evaluation.dimensions import NAMES
from evaluation.second_scores import SECOND_DIMENSIONS
from evaluation.text_only_dimensions import TEXT_ONLY, TEXT_ONLY_CONTROLS
from models.training.data_parallel import split_batch
from models.training.settings import RECIPES, DmdSettings
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.paths import baseline_file
from workflow.planning.recipe_presets import preset_settings, with_training_prompts
from workflow.planning.suite import (
    CLIP_CONTROLS,
    CONTROLS,
    OFFICIAL_BENCHMARKS,
    Suite,
    TrainPlan,
    clip_control,
)
from workflow.training.reward_names import check_rewards

RELEASED = "released"
"""As `weights`: every native row is sampled from its published files, and nothing is trained."""

SET = "set"
"""Key of `--config` under which dotted keys stand: Snakemake itself takes no dot in a key."""

GIVEN_BY_PRESET = ("raven", "cm_grpo")

DEFAULT_CONFIG = "workflow/config/toybox.yaml"


def load_suite(root: Path, files: Sequence[str | Path], replaced: Mapping[str, Any]) -> Suite:
    """The suite Snakemake was given: its one config file, with `--config` values in place of the file's.

    files: config files on the command line or in the profile (none: the embedded default); replaced:
    `--config` values. Raises ValueError that names file, key and allowed keys.
    """
    where = one_config_file(root, files)
    path = root / where
    given = {key: _retyped(value) for key, value in replaced.items() if key != SET}
    values = read_mapping(path, where) | given
    for name, value in nested_values(replaced.get(SET)).items():
        _replace(values, name, value, where)
    return suite_from(values, where, root)


def one_config_file(root: Path, files: Sequence[str | Path]) -> str:
    """The name of the one file that was given, seen from the repository, or of the embedded suite's.

    Raises ValueError if there are several, FileNotFoundError if it is not there.
    """
    if len(files) > 1:
        raise ValueError(
            f"{len(files)} config files were given ({', '.join(map(str, files))}), but a suite is exactly "
            "one file; pass one --configfile, targets in front of it, or copy the file and edit the copy."
        )
    where = config_name(root, files)
    if not (root / where).is_file():
        raise FileNotFoundError(
            f"Config file {where} does not exist; workflow/config/ has {', '.join(shipped_suites(root))}."
        )
    return where


def shipped_suites(root: Path) -> dict[str, Path]:
    """The suites of the repository by their names."""
    return {path.stem: path for path in sorted((root / "workflow/config").glob("*.yaml"))}


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
        try:
            found[name] = load_yaml(value)
        except ValueError as error:
            raise ValueError(f"--config set: {name}: {error}; correct it.") from error
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
            read = load_yaml(value)
        except ValueError:
            return value
        return value if isinstance(read, dict | list) else read
    return value


def config_name(root: Path, files: Sequence[str | Path]) -> str:
    """The suite's file, relative to the repository where it lies inside."""
    path = Path(files[0]) if files else Path(DEFAULT_CONFIG)
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def read_mapping(path: Path, where: str) -> dict[str, Any]:
    """The plain values of a suite's file. Raises ValueError if it is no mapping, or names a key twice."""
    return read_strict(path, dict[str, Any], where=where)


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
    if suite.without_clips:
        raise ValueError(
            f"{where}: without_clips is filled in from the baselines' files; take it out of the suite's."
        )
    listed = suite.prompts.list
    if listed is not None and not listed.startswith(FETCHED_FOLDER) and not (root / listed).is_file():
        raise ValueError(
            f"{where}: prompts.list is {listed!r}, which is no file; give its path, seen from the repository."
        )
    if unknown := [name for name in suite.dimensions if name not in NAMES]:
        raise ValueError(
            f"{where}: dimensions names {', '.join(unknown)}, expected some of {', '.join(NAMES)}; a "
            "dimension of your own goes into `custom_dimensions`."
        )
    for row in suite.controls:
        _check_control(suite, row, where)
    doubled = sorted({row for row in suite.rows if suite.rows.count(row) > 1})
    if doubled:
        raise ValueError(
            f"{where}: {', '.join(doubled)} is listed more than once among baselines and controls; list a "
            "row once."
        )
    for row in suite.variants:
        _check_variant(suite, row, where)
    for row in suite.baselines:
        file = baseline_file(suite, row)
        if not (root / file).is_file():
            raise ValueError(f"{where}: baseline {row!r} has no file {file}; write it or take the row out.")
        kind = kind_of(root / file)
        _check_kind(suite, row, kind, where)
        if row in suite.variants:
            continue
        if kind == "results":
            suite = suite.model_copy(update={"without_clips": (*suite.without_clips, row)})
            _check_results(suite, row, load_row(root / file), f"{where}: {file}")
        elif suite.prompts.imported is not None:
            raise ValueError(
                f"{where}: prompts.imported is for suites of imported results alone, and baseline {row!r} "
                f"is of kind {kind}; take that key or the row out."
            )
        if kind == "native" and (row in suite.weights) == (row in suite.train):
            raise ValueError(
                f"{where}: baseline {row!r} must be in exactly one of `weights` (a file) and `train` "
                f"(trained in the run), found in {'both' if row in suite.weights else 'neither'}."
            )
        if row in suite.train and (untrained := load_baseline(root / file).untrained):
            raise ValueError(
                f"{where}: train.{row} would train {file}, where {untrained}; no recipe trains that, so give "
                "the row a file in `weights`, or another `baseline`."
            )
        released = str(suite.weights.get(row)).startswith(FETCHED_FOLDER)
        if kind == "native" and not released and load_baseline(root / file).weights.memory:
            raise ValueError(
                f"{where}: baseline {row!r} makes its context passes with a second set of weights "
                f"({file}: weights.memory), which only its released file has; name that file under "
                f"{FETCHED_FOLDER} in `weights`, or take the row out."
            )
    for row in suite.allow_external:
        if row not in suite.baselines or kind_of(root / baseline_file(suite, row)) != "external":
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
    for row in suite.row_samples:
        teacher = root / baseline_file(suite, row)
        if not teacher.is_file() or not _is_full(teacher):
            raise ValueError(
                f"{where}: row_samples names {row!r}, which is no teacher (rollout.kind full); all other "
                "rows have every sample, so take it out."
            )
        if suite.benchmark in OFFICIAL_BENCHMARKS or suite.sample.noise != "portable":
            raise ValueError(
                f"{where}: row_samples goes with portable noise and the checkers of the embedded world, "
                f"found benchmark {suite.benchmark} and noise {suite.sample.noise}; take it out."
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
    if "short" not in suite.scoring.texts:
        raise ValueError(
            f"{where}: scoring.texts is {', '.join(suite.scoring.texts)}, but the short text makes every "
            "number of the table and names the clips; give [short], or [short, extended] for both."
        )
    keys = {"extended_text": "texts names extended", "unfiltered": "unfiltered is true"}
    for second, dimensions in suite.second_scores.items():
        if suite.clip.long_fps:
            raise ValueError(
                f"{where}: scoring.{keys[second]}, but clips of {suite.clip.seconds:.0f} s are scored in "
                "pieces, which are not scored once more; take it out."
            )
        if not dimensions:
            known = (
                ", ".join(SECOND_DIMENSIONS[suite.benchmark][second]) or f"none of the {suite.benchmark}'s"
            )
            raise ValueError(
                f"{where}: scoring.{keys[second]}, but no dimension of the suite is scored otherwise by it "
                f"({known} would be); take it out, or add them."
            )
    return suite


def _is_full(file: Path) -> bool:
    """Whether a baseline's file is of a native row that denoises all frames together."""
    row = load_row(file)
    return isinstance(row, Baseline) and row.rollout.kind == "full"


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


def _check_results(suite: Suite, row: str, baseline: AnyBaseline, where: str) -> None:
    """Raises ValueError for dimensions that do not exist or are not the suite's, and for controls that would
    be made from clips that there are not.
    """
    assert isinstance(baseline, ResultsBaseline), "its kind says so"
    asked = baseline.results.dimensions or ()
    if unknown := [name for name in asked if name not in NAMES]:
        raise ValueError(
            f"{where}: results.dimensions names {', '.join(unknown)}, expected some of {', '.join(NAMES)}."
        )
    if asked and not set(asked) & set(suite.dimensions):
        raise ValueError(
            f"{where}: results.dimensions has none of the suite's ({', '.join(suite.dimensions)}); take row "
            f"{row} out."
        )
    made = [name for name in suite.controls if (control := clip_control(name)) and control.source == row]
    if made:
        raise ValueError(
            f"{where}: control {made[0]!r} is made from clips of {row}, which has scores and no clips; take "
            "the control out."
        )


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


def _check_variant(suite: Suite, row: str, where: str) -> None:
    """Raises ValueError for a variant that is no row, of what has no weights here, of another variant, or
    that cannot be made here.
    """
    plan, other = suite.variants[row], suite.original(row)
    if row not in suite.baselines:
        raise ValueError(
            f"{where}: variants has {row!r}, which is no row; add it to `baselines` or take it out."
        )
    if other not in suite.baselines or other in suite.variants or not suite.has_weights(other):
        raise ValueError(
            f"{where}: variants.{row}.baseline is {other!r}, expected another native row of `baselines`, "
            "beside which it is shown; name one."
        )
    if row in suite.weights or row in suite.train:
        raise ValueError(
            f"{where}: {row!r} is a variant of {other!r}, whose weights it has; take it out of `weights` "
            "and `train`."
        )
    if plan.precision is not None and suite.device == "cpu":
        raise ValueError(
            f"{where}: variants.{row}.precision is {plan.precision!r}, which needs a Hopper GPU, but device "
            "is cpu; take it out, or set `device: cuda` on such a machine."
        )
    if plan.precision is not None and suite.sample.precision != "fast":
        raise ValueError(
            f"{where}: variants.{row}.precision is {plan.precision!r}, which is `fast` but for what it "
            f"rounds, and sample.precision is {suite.sample.precision!r}; set that to fast."
        )
    if plan.decoder == "tiny" and suite.model.tiny_decoder is None:
        raise ValueError(
            f"{where}: variants.{row}.decoder is tiny, but model.tiny_decoder names no file; give one, such "
            f"as {FETCHED_FOLDER}weights/tiny/taew2_1.pth."
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
    settings = suite.recipe_settings(row, f"{where}: ")
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
    if plan.recipe == "cm_grpo":
        named = "cm_grpo" if plan.settings is None else f"train.{row}.settings"
        check_rewards(settings.rewards, f"{where}: {named}.rewards", real_clips=plan.rewards is not None)
    try:
        split_batch(settings.samples, settings.micro_batches, rank=0, size=plan.nodes * plan.gpus)
    except ValueError as error:
        raise ValueError(f"{where}: train.{row}: {error}") from None
