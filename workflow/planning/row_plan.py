"""What decides a row's clips, and which files of its own it has: external inputs, rules, training data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from baselines.foreign import ExternalBaseline, ImportBaseline, ResultsBaseline
from baselines.native import Baseline
from baselines.spec import AnyBaseline
from evaluation.dimensions import NAMES
from evaluation.files import load_json
from evaluation.imported_results import result_files
from workflow.external.archive import original_files
from workflow.external.baseline import external_settings, import_settings, row_clip
from workflow.planning.paths import fetched_checksums, own_record, weights_file
from workflow.planning.suite import (
    OFFICIAL_BENCHMARKS,
    Suite,
    TrainPlan,
    clip_control,
    control_settings,
    sampling_settings,
)
from workflow.training.reward_names import REWARD_WORKER, UNIFIED_REWARD, reward_modules, toybox_scorer

Baselines = Mapping[str, AnyBaseline]
"""Every baseline of a suite by its row."""


def rows_of_kind(baselines: Baselines, kind: str) -> list[str]:
    """The rows of baselines of one kind: native, external, import or results."""
    return [row for row, baseline in baselines.items() if baseline.kind == kind]


def teachers_of(suite: Suite, baselines: Baselines) -> list[str]:
    """Rows that denoise all frames together, where the suite has others, which are distilled from such."""
    native = {row: one for row in suite.baselines if isinstance(one := baselines[row], Baseline)}
    full = [row for row, one in native.items() if one.rollout.kind == "full"]
    return full if len(full) < len(native) else []


def clip_settings(suite: Suite, baselines: Baselines, root: Path, row: str) -> dict[str, Any]:
    """What decides a row's clips, as plain values: its rule tracks them and its script receives them."""
    baseline = baselines.get(row)
    if baseline is None:
        return {**control_settings(suite, row), "clip": clip_of_row(suite, baselines, row)}
    if isinstance(baseline, Baseline):
        return sampling_settings(suite, baseline, row)
    if isinstance(baseline, ImportBaseline):
        return import_settings(suite, baseline)
    if isinstance(baseline, ResultsBaseline):
        return results_settings(suite, baseline, scored_metrics(suite, baselines, row))
    return external_settings(suite, baseline, root)


def scored_metrics(suite: Suite, baselines: Baselines, row: str) -> list[str]:
    """The dimensions that a row has scores of: all of the suite, the user's own too, or of imported scores
    those that it has.
    """
    baseline = baselines.get(row)
    if not isinstance(baseline, ResultsBaseline):
        return [*suite.dimensions, *suite.custom_dimensions]
    had = baseline.results.dimensions
    return [name for name in suite.dimensions if had is None or name in had]


def results_settings(suite: Suite, baseline: ResultsBaseline, dimensions: Sequence[str]) -> dict[str, Any]:
    """What decides a row of imported scores beside its file, as plain values."""
    return {
        **baseline.results.model_dump(mode="json", exclude={"path", "dimensions"}),
        "benchmark": suite.benchmark,
        "dimensions": list(dimensions),
        "common": suite.prompts.imported == "common",
        **({"seconds": suite.clip.seconds} if suite.clip.long_fps else {}),
    }


def clip_of_row(suite: Suite, baselines: Baselines, row: str) -> dict[str, int]:
    """The shape of a row's clips: its own, or that of the row it is made from."""
    made = clip_control(row)
    return row_clip(suite, baselines.get(row if made is None else made.source))


def external_inputs(baseline: AnyBaseline) -> list[Path]:
    """Files from outside the workflow that a row is made from: imported clips, or weights of an external
    baseline.
    """
    if isinstance(baseline, ImportBaseline):
        listed = baseline.clips.files
        names = None if listed is None else load_json(Path(listed).read_bytes(), listed).values()
        return original_files(Path(baseline.clips.path), names, baseline.clips.numbered_by)
    if isinstance(baseline, ResultsBaseline):
        place = Path(baseline.results.path)
        return result_files(place) if place.exists() else []
    return [Path(name) for name in baseline.files] if isinstance(baseline, ExternalBaseline) else []


def included_rules(suite: Suite, baselines: Baselines, root: Path) -> list[str]:
    """Rule files that only some suites have: to filter and score, to score once more, to measure long clips,
    and of baselines.

    The official VBench has an environment of its own and works in parts. A baseline's rules are in
    baselines/<row>/rules.smk. Raises ValueError if they must make a row's clips and are not there.
    """
    official = suite.benchmark in OFFICIAL_BENCHMARKS
    scoring = ["official"] if official else ["filter", "score"]
    long = ["long", *(["pieces"] if official else [])] if suite.clip.long_fps else []
    second = ["second"] if suite.second_scores else []
    files = [root / f"workflow/rules/{name}.smk" for name in [*scoring, *second, *long]]
    for row, baseline in baselines.items():
        custom = root / "baselines" / row / "rules.smk"
        if custom.is_file():
            files.append(custom)
        elif isinstance(baseline, ExternalBaseline) and baseline.command is None:
            raise ValueError(
                f"baselines/{row}.yaml has no command, so rules of its own must make its clips, but "
                f"baselines/{row}/rules.smk does not exist; write it, or give a command and code."
            )
    return [str(file) for file in files]


def external_gpus(suite: Suite, baseline: ExternalBaseline) -> int:
    """GPUs of one job of an external baseline."""
    return 0 if suite.device == "cpu" else baseline.gpus


def external_minutes(baseline: ExternalBaseline) -> int:
    """Time limit of such a job: that of the program, and half an hour for what we do."""
    return baseline.timeout_s // 60 + 30


def heldout_rows(suite: Suite) -> list[str]:
    """Rows that CM-GRPO trains, whose held-out prompts are scored before and after."""
    rows = [row for row, plan in suite.train.items() if plan.recipe == "cm_grpo" and row in suite.rows]
    return [row for row in rows if load_json(suite.train_settings(row), row)["heldout"] > 0]


def training_modules(suite: Suite, row: str) -> list[str]:
    """Modules whose code decides the weights of a row: its script, and those that compute its rewards."""
    plan = suite.train[row]
    script = f"workflow.scripts.train_{plan.recipe}"
    if plan.recipe != "cm_grpo":
        return [script]
    rewards = load_json(suite.train_settings(row), row)["rewards"]
    return [script, *reward_modules(rewards, real_clips=plan.rewards is not None)]


def heldout_modules(plan: TrainPlan) -> list[str]:
    """Modules that score held-out prompts, with rewards of real clips or checkers of the toybox."""
    checkers = [REWARD_WORKER, UNIFIED_REWARD] if plan.rewards else [toybox_scorer(name) for name in NAMES]
    return ["workflow.scripts.score_heldout", *checkers]


def reward_environment(suite: Suite, row: str) -> list[str]:
    """The environment in which most rewards of real clips are computed, where a rule of the suite builds it.

    A name without the hash of its lock: another environment scores anew, it does not train anew.
    """
    built = suite.train[row].rewards and suite.benchmark in OFFICIAL_BENCHMARKS
    return [".venvs/vbench/built"] if built else []


def training_flags(suite: Suite, row: str) -> list[str]:
    """Flags that only some trained rows have, and what says which bytes their weights are of."""
    plan = suite.train[row]
    files = {"fake": weights_file(suite, plan.fake)} if plan.fake else {}
    if suite.resources:
        files["checksums"] = fetched_checksums(suite)
    flags = [f"--{flag}={name}" for flag, name in (files | training_data(plan)).items()]
    records = dict.fromkeys(record for name in plan.networks for record in own_record(suite, name))
    flags += [f"--own={record}" for record in records]
    return flags + ([f"--fps={suite.clip.fps}"] if plan.rewards else [])


def training_data(plan: TrainPlan) -> dict[str, str]:
    """Files that only some trained rows have, by flag: prompts, latents of real clips, weights of rewards."""
    files = {"prompts": plan.prompts, "data": plan.data, "rewards": plan.rewards}
    return {flag: name for flag, name in files.items() if name}


GPU_CORES = 4
"""Cores beside a GPU that samples: one feeds it, three write what it made."""


def threads_to_sample(device: str, cores: int | None, gpus: int | None) -> int:
    """Cores of a job that samples. cores: of this run on one machine, None where each job asks a scheduler
    for its own; gpus: that these cores feed.

    A CPU samples with one core a job, since shards use the others. With fewer than `GPU_CORES` a GPU, each
    job takes its share, so that no GPU is left without one.
    """
    if device == "cpu":
        return 1
    return GPU_CORES if cores is None else max(1, min(GPU_CORES, cores // max(1, gpus or 1)))


class JobShape(NamedTuple):
    """What a training job asks Slurm for, in the plugin's words; None is not asked for."""

    threads: int
    gpu: int | None
    gres: str | None
    mpi: str | None
    tasks_per_node: int | None


def training_shape(plan: TrainPlan) -> JobShape:
    """On one node: the GPUs of the job. On several: the GPUs of each node, and `mpi`.

    `mpi` keeps the plugin from wrapping the job in an srun of its own: one launcher starts on each node
    (workflow/scripts/launch.py). tasks_per_node then means CPU slots.
    """
    if plan.nodes == 1:
        return JobShape(threads=plan.gpus, gpu=plan.gpus, gres=None, mpi=None, tasks_per_node=None)
    return JobShape(
        threads=1, gpu=None, gres=f"gpu:{plan.gpus}", mpi="srun", tasks_per_node=max(2, plan.gpus)
    )
