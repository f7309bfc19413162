"""What a run says before its first job: what is missing, what it will do, and about what it will cost."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from baselines.native import Baseline
from baselines.spec import AnyBaseline
from evaluation.code_state import code_state
from evaluation.files import file_sha256, load_json
from evaluation.metrics import fewest_draws
from evaluation.prompts import count_prompts, list_notices
from evaluation.records import Prompt
from evaluation.selection import first_samples
from evaluation.suite_prompts import NAMED_BY_PROMPT, suite_prompts
from evaluation.text_only_dimensions import TEXT_ONLY_CONTROLS
from evaluation.words import numbered
from models.training.launch import compute_capabilities, count_gpus, has_address, plan_launch
from reports.scrubbing import scrub, scrub_command
from reports.starts import Start
from workflow.external.baseline import missing_parts
from workflow.planning.clip_length import check_length
from workflow.planning.cost import GPU_RULES, estimated_cost, work_line
from workflow.planning.needs import cheaper_way, counted_prompts, disk_line
from workflow.planning.paths import check_weight_files, has_user_list
from workflow.planning.prompt_plan import prompt_stage_settings, protocol_note
from workflow.planning.report_plan import row_names
from workflow.planning.resources import custom_resources, missing_resources, needed_resources
from workflow.planning.row_plan import Baselines, training_data
from workflow.planning.suite import LATENT_STRIDE, OFFICIAL_BENCHMARKS, Suite, clip_control
from workflow.planning.suite_file import SET, nested_values
from workflow.training.reward_names import REWARD_PYTHON


def gpu_slots(environment: Mapping[str, str]) -> int:
    """How many jobs on a GPU a local Snakemake runs at once: N of a node times NNODES."""
    launch = plan_launch({**environment, "D": ""}, count_gpus, has_address)
    return launch.processes * launch.nodes


def missing_reward_environment(root: Path) -> str:
    """One sentence if the environment in which rewards of real clips are computed is not built; empty if it
    is.
    """
    if (root / REWARD_PYTHON).is_file():
        return ""
    return (
        f"there is no {REWARD_PYTHON}, in which most of CM-GRPO's rewards are computed; build it with "
        "envs/vbench/install.sh. Nothing was started."
    )


def missing_gpu(suite: Suite, jobs: Collection[tuple[str, str | None]]) -> str:
    """One sentence if jobs of this machine need a GPU that it has not, or that its torch cannot use; else
    empty.
    """
    needing = sorted({rule for rule, _ in jobs if rule in GPU_RULES})
    if suite.device != "cuda" or not needing:
        return ""
    way = "run it where there are GPUs (--profile slurm, --profile gpus)"
    if not count_gpus():
        lack = f"this machine has none; {way}"
    elif version("torch").endswith("+cpu"):
        lack = f"torch {version('torch')} is a CPU build; run `make env TORCH=cuda`, or {way}"
    else:
        return ""
    return (
        f"The suite's device is cuda and {', '.join(needing)} need a GPU, but {lack}, or set `device: cpu`. "
        "Nothing was started."
    )


def missing_fp8(suite: Suite, jobs: Collection[tuple[str, str | None]]) -> str:
    """One sentence if rows that are to be sampled on this machine compute in fp8, and its GPUs cannot; else
    empty.
    """
    rows = sorted(
        row
        for rule, row in jobs
        if rule == "sample" and row in suite.variants and suite.variants[row].precision is not None
    )
    least = min(compute_capabilities(), default=(9, 0))
    if not rows or least >= (9, 0):
        return ""
    return (
        f"{', '.join(rows)} compute in fp8, which needs GPUs of compute capability 9.0 (Hopper) or more, but "
        f"this machine has {least[0]}.{least[1]}; run elsewhere, or take them out of the suite's `variants`. "
        "Nothing was started."
    )


def missing_for_jobs(
    root: Path,
    suite: Suite,
    baselines: Baselines,
    jobs: Collection[tuple[str, str | None]],
    *,
    released: bool = False,
) -> str:
    """What the jobs of a run need and this machine lacks, in one screen; empty if everything is here.

    jobs: rule, and row (or custom dimension) if it has one, of every job that is to be run. released: whether
    `weights=released` was asked for beside the suite's file.
    """
    scorer = any(rule == "vbench_weights" for rule, _ in jobs)
    judged = {name for rule, name in jobs if rule == "custom_resources" and name is not None}
    needed = needed_resources(root, suite) + custom_resources(root, suite, judged)
    if screen := missing_resources(root, suite, needed=needed, scorer=scorer, released=released):
        return screen
    trained = sorted(row for rule, row in jobs if rule == "train" and row is not None)
    named = [(row, *one) for row in trained for one in training_data(suite.train[row]).items()]
    if absent := [
        f"train.{row}.{key} names {name}" for row, key, name in named if not (root / name).exists()
    ]:
        return (
            f"{', '.join(absent)}, which is not there; make it (real clips: python -m "
            "workflow.scripts.encode_clips), or take the row out. Nothing was started."
        )
    # The official benchmark's suites build that environment themselves.
    rewarded = (
        [] if suite.benchmark in OFFICIAL_BENCHMARKS else [r for r in trained if suite.train[r].rewards]
    )
    if rewarded and (error := missing_reward_environment(root)):
        return f"{', '.join(rewarded)}: {error}"
    made_elsewhere = ("external_contract", "external", "import_clips")
    rows = sorted(
        {
            row
            for rule, row in jobs
            if row is not None and (rule in made_elsewhere or rule.startswith("import_results_"))
        }
    )
    missing = [text for row in rows for text in _missing_parts(root, baselines[row])]
    return "\n".join([*missing, "Nothing was started."]) if missing else ""


def _missing_parts(root: Path, baseline: AnyBaseline) -> list[str]:
    return [] if isinstance(baseline, Baseline) else missing_parts(root, baseline)


def planned_prompts(suite: Suite, root: Path = Path()) -> list[Prompt]:
    """The prompts that the suite's `prompts` stage will write. Raises ValueError as that stage does."""
    settings = load_json(json.dumps(prompt_stage_settings(root, suite)), "the settings of prompts")
    return suite_prompts(
        settings, root / "resources/prompts", root / suite.prompts.list if suite.prompts.list else None
    )


def expected_prompts(suite: Suite, root: Path) -> list[Prompt] | None:
    """The suite's prompts, or while they are not fetched yet what is counted in their place; None if that is
    not known.
    """
    try:
        return planned_prompts(suite, root)
    except FileNotFoundError:
        return counted_prompts(suite)


def check_inputs(suite: Suite, root: Path, baselines: Baselines, where: str) -> None:
    """Refuse a suite whose parts do not fit each other or name files that are not there or are wrong, before
    anything is planned. where: what to call the suite's file. Raises ValueError.
    """
    try:
        check_user_list(suite, root)
        check_weight_files(suite, root)
        _check_clips(suite, baselines)
        _check_draws(suite, baselines)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_clips(suite: Suite, baselines: Baselines) -> None:
    """Raises ValueError if clips are not what native rows make of their latents."""
    clip, model = suite.clip, suite.model
    for row, baseline in baselines.items():
        if not isinstance(baseline, Baseline):
            continue
        check_length(suite, row, baseline)
        for side in ("height", "width"):
            pixels, latents = getattr(clip, side), getattr(model, f"latent_{side}")
            if pixels % (LATENT_STRIDE * latents) or pixels * model.latent_height != clip.height * latents:
                raise ValueError(
                    f"clip.{side} is {pixels} and model.latent_{side} {latents}, but a latent is a square "
                    f"of {LATENT_STRIDE} pixels or a multiple, the same in height and width; correct one."
                )


def _check_draws(suite: Suite, baselines: Baselines) -> None:
    """Raises ValueError if titles are doubled, or no difference could be shown among so many rows."""
    rows = row_names(suite, baselines)
    fewest = fewest_draws(len(suite.baselines), len(suite.custom_dimensions))
    if suite.aggregate.draws < fewest:
        raise ValueError(
            f"aggregate.draws is {suite.aggregate.draws}, with which no difference among {len(rows)} rows "
            f"could be shown at the 5 % level after Holm's correction; set it to at least {fewest}."
        )


def check_user_list(suite: Suite, root: Path) -> None:
    """Refuse a faulty prompt list, and controls that it gives no facts to render, before anything is planned.

    A fetched list may not be there yet; the prompts stage reads it. Raises ValueError.
    """
    if not has_user_list(suite):
        return
    prompts = planned_prompts(suite, root)
    bare = [prompt.id for prompt in prompts if not prompt.facts]
    rendered = [row for row in suite.controls if row not in TEXT_ONLY_CONTROLS and clip_control(row) is None]
    if bare and rendered:
        raise ValueError(
            f"The controls {', '.join(rendered)} render the facts of a prompt, and {len(bare)} prompts of "
            f"{suite.prompts.list} have none (first: {bare[0]}); leave {', '.join(TEXT_ONLY_CONTROLS)} "
            "alone in `controls`, make controls from a row's clips (evaluation/README.md), or give every "
            "prompt facts."
        )


def start_notices(suite: Suite, prompts: Sequence[Prompt], root: Path) -> list[str]:
    """What to know beside the counts, a sentence each: how the run leaves the standard protocol, lines that
    are not rendered, names that collide.
    """
    note, named = protocol_note(root, suite), suite.benchmark in NAMED_BY_PROMPT
    return [
        *([note] if note else []),
        *([] if suite.prompts.scored_only else list_notices(prompts, named_by_prompt=named)),
    ]


def start_banner(suite: Suite, prompts: Sequence[Prompt]) -> str:
    """Prompts, rows, clips and dimensions of a run."""
    counts = count_prompts(prompts)
    trained = sum(row in suite.train for row in suite.baselines)
    outside = sum(not suite.has_weights(row) for row in suite.baselines)
    elsewhere = f", {outside} external or imported, whose own time is not counted" if outside else ""
    alone = f", {len(suite.without_clips)} of scores alone" if suite.without_clips else ""
    clips = sum(
        count_prompts(first_samples(prompts, suite.row_samples.get(row))).clips
        for row in suite.rows_with_clips
    )
    return (
        f"Suite {suite.suite}: {counts}; {numbered(len(suite.baselines), 'baseline')} ({trained} trained "
        f"here{elsewhere}{alone}) and {numbered(len(suite.controls), 'control')}, "
        f"{numbered(clips, 'clip')}, {numbered(len(suite.dimensions), 'dimension')}."
    )


def run_needs(
    root: Path,
    suite: Suite,
    prompts: Sequence[Prompt] | None,
    jobs: Collection[tuple[str, str | None]],
    alternative: Suite | None,
    work: str | None = None,
) -> list[str]:
    """What a run needs, a sentence each: the cheaper way first if a row is still to be trained, then prompts
    and clips, what is to be done, and disk.

    prompts: None where they cannot be counted yet. alternative: the suite without training. work: what is to
    be done at which cost; None for a run from nothing, empty where that is said elsewhere.
    """
    rules = {rule for rule, _ in jobs}
    clips_mb = estimated_cost(suite, prompts).disk_mb if prompts is not None else None
    if work is None and prompts is not None:
        work = work_line(estimated_cost(suite, prompts), "From nothing")
    return [
        *(cheaper_way(root, suite, alternative, prompts) if "train" in rules else ()),
        *([start_banner(suite, prompts)] if prompts is not None else ()),
        *([work] if work else ()),
        *disk_line(root, suite, clips_mb, scorer="vbench_weights" in rules),
    ]


def this_start(
    suite: Suite,
    prompts: Sequence[Prompt],
    *,
    root: Path,
    config: str,
    replaced: Mapping[str, Any],
    command: Sequence[str],
    jobs: int,
) -> Start:
    """The record of this start. config: the suite's file; replaced: `--config` values; command: as typed,
    scrubbed here; jobs: that are to be run.
    """
    given = {key: value for key, value in replaced.items() if key != SET} | nested_values(replaced.get(SET))
    code = code_state(root)
    return Start(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=scrub_command(command, str(root)),
        config=scrub(config, str(root)),
        config_sha256=file_sha256(root / config),
        replaced=scrub(given, str(root)),
        commit=code.commit,
        dirty=code.dirty,
        jobs=jobs,
        estimate=estimated_cost(suite, prompts),
    )
