# What every stage shares: the validated suite, paths, settings as JSON, code digests. No job is defined here.
# Only `from ... import` below: `import workflow.x` would hide Snakemake's own `workflow`.
import json
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from baselines.spec import load_row
from reports.scrubbing import scrub
from reports.starts import note_start
from workflow.planning.code_digest import code_digest
from workflow.external.baseline import (
    external_settings,
    import_settings,
    missing_parts,
    outside_settings_in_use,
    row_clip,
    shape_notes,
)
from workflow.external.archive import original_files
from workflow.planning.licences import licences_of
from workflow.external.changed_files import note_changes, outside_note
from workflow.planning.custom_dimensions import custom_dimensions
from workflow.planning.missing_clips import lost_note, note_lost_clips
from workflow.planning.suite import (
    CONTROLS,
    OFFICIAL_BENCHMARKS,
    SCORERS,
    config_name,
    control_settings,
    load_suite,
    sampling_settings,
    settings_in_use,
)
from workflow.planning.prompt_plan import (
    has_own_list,
    keep_copy,
    prompt_stage_settings,
    protocol_note,
)
from workflow.planning.resources import (
    missing_resources,
    needed_resources,
    scorer_resources,
)
from workflow.planning.subset import choose_subset, chosen_prompts, link_subset
from workflow.planning.progress import job_costs, start_progress
from workflow.planning.banner import (
    check_own_list,
    missing_reward_environment,
    planned_prompts,
    put_python_first,
    start_banner,
    start_notices,
    this_start,
)

put_python_first()

REPLACED = {key: value for key, value in workflow.config_settings.config.items() if key != "only"}
SUITE = load_suite(ROOT, workflow.configfiles, REPLACED)
BASELINES = {row: load_row(ROOT / "baselines" / f"{row}.yaml") for row in SUITE.baselines}
NATIVE = [row for row, baseline in BASELINES.items() if baseline.kind == "native"]
EXTERNAL = [row for row, baseline in BASELINES.items() if baseline.kind == "external"]
IMPORTED = [row for row, baseline in BASELINES.items() if baseline.kind == "import"]

CUSTOM = {custom.name: custom for custom in custom_dimensions(SUITE, ROOT)}

CONFIG = config_name(ROOT, workflow.configfiles)

ONLY = (
    choose_subset(
        workflow.config_settings.config["only"],
        rows=SUITE.rows,
        dimensions=SUITE.dimensions,
        custom=list(CUSTOM.values()),
        listed=lambda: planned_prompts(SUITE, ROOT),
    )
    if "only" in workflow.config_settings.config
    else None
)
ROWS = ONLY.rows if ONLY else SUITE.rows
DIMENSIONS = ONLY.dimensions if ONLY else SUITE.dimensions
CUSTOM_CHOSEN = ONLY.custom if ONLY else tuple(CUSTOM)

RESULTS = f"results/{SUITE.suite}"
# What a subset run has of its own: its table (OUT), and where prompts or samples are left out, lists and scores too (PART).
OUT = f"{RESULTS}/subsets/{ONLY.id}" if ONLY else RESULTS
PART = OUT if ONLY and ONLY.of_prompts else RESULTS
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"
PROMPTS = f"{RESULTS}/prompts/prompts.jsonl"
FETCHED = f"{RESULTS}/fetch/resources.json"
SHARD = f"{RESULTS}/clips/{{row}}/shards/{{shard}}"
CLIPS = f"{RESULTS}/clips/{{row}}"
CHOSEN = f"{PART}/prompts/prompts.jsonl"
MADE = f"{PART}/clips/{{row}}/shards/{{shard}}"
LISTED = f"{PART}/clips/{{row}}"
PART_LOGS = f"{PART}/logs"
PART_BENCHMARKS = f"{PART}/benchmarks"


wildcard_constraints:
    row="|".join(SUITE.rows),
    dimension="|".join(SUITE.dimensions),
    custom="|".join(SUITE.custom_dimensions) or "(?!)",
    shard=r"\d+-of-\d+",


def as_json(value):
    """Compact JSON in the order given (the order of rows means something): what a rule tracks as params is exactly what its command line receives."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def digest(module, *data):
    """Digest of exactly the modules a stage imports, and of the data files matching the globs `data`."""
    return code_digest(ROOT, module, data)


def never_matching(rows):
    """A wildcard constraint that admits just these rows, or nothing."""
    return "|".join(rows) or "(?!)"


def fetched():
    """The proof that fetched files are there, for suites that need any."""
    return [FETCHED] if SUITE.resources else []


def kept_list():
    """Where the prompts stage reads the suite's list: a fetched one in its place, one's own as a copy kept with the results.
    Only the copy's content can change, so that moving, renaming or touching the list reruns nothing.
    """
    if has_own_list(SUITE):
        return f"{RESULTS}/prompts/list{Path(SUITE.prompts.list).suffix.lower()}"
    return SUITE.prompts.list


def trained_file(row, flavour, suffix):
    """File that `convert` makes of a trained row: suffix "json" is the manifest, "safetensors" the weights."""
    return f"{RESULTS}/weights/{row}/{flavour}.{suffix}"


def description(name):
    """Small file that stands for weights in the DAG (its content is compared, however large or touched the weights are):
    a manifest of `convert`, the description beside a shipped file, or the proof of what was fetched.
    """
    if name in SUITE.train:
        return trained_file(name, SUITE.train[name].flavour, "json")
    return FETCHED if name.startswith("resources/") else str(Path(name).with_suffix(".json"))


def weights_file(name):
    """The weights themselves: of a row trained in this run, or the named file."""
    return trained_file(name, SUITE.train[name].flavour, "safetensors") if name in SUITE.train else name


def declared(name):
    """The weights as an input, unless they were fetched (then the proof stands for them)."""
    return [] if name.startswith("resources/") else [ancient(weights_file(name))]


def converted(*flavours):
    """Outputs of converting a checkpoint: each flavour's manifest and weights."""
    return {
        f"{flavour}_{kind}": trained_file("{row}", flavour, suffix)
        for flavour in flavours
        for kind, suffix in (("manifest", "json"), ("weights", "safetensors"))
    }


def lost(wildcards):
    """The note of clips that this shard made and that were deleted since, if there ever was one."""
    note = lost_note(Path(f"{MADE.format(**wildcards)}.manifest.jsonl"))
    return [str(note)] if note.is_file() else []


def shard_files(kind):
    """Input function: a row's shards; those of a subset list just its clips where we make them ourselves, all of the row otherwise."""
    return lambda wc: expand(
        f"{SHARD if wc.row in EXTERNAL + IMPORTED else MADE}.{kind}.jsonl",
        row=wc.row,
        shard=SUITE.shards,
    )


def chosen_list():
    """The list of a subset of the prompts, as input of what makes clips; the clips keep their places in the whole list."""
    return [] if PART == RESULTS else CHOSEN


def whole_run(files):
    """Input function: files that a subset run must not make, since nothing in them could say that they are of one."""

    def refuse(wildcards):
        if ONLY:
            raise ValueError(
                f"The leaderboard's zip holds whole results only. {ONLY.sentence} Run it without `only`."
            )
        return files

    return refuse


def chosen_suite():
    """The suite as far as this run does it, for what is said about it."""
    return SUITE.model_copy(
        update={
            "baselines": tuple(row for row in SUITE.baselines if row in ROWS),
            "controls": tuple(row for row in SUITE.controls if row in ROWS),
            "dimensions": DIMENSIONS,
            "custom_dimensions": {name: SUITE.custom_dimensions[name] for name in CUSTOM_CHOSEN},
        }
    )


def own_rules():
    """Rule files that baselines of this suite bring along, as baselines/<row>/rules.smk."""
    files = {row: ROOT / "baselines" / row / "rules.smk" for row in BASELINES}
    for row in EXTERNAL:
        if BASELINES[row].command is None and not files[row].is_file():
            raise ValueError(
                f"baselines/{row}.yaml has no command, so rules of its own must make its clips, but baselines/{row}/rules.smk "
                "does not exist; write it, or give a command and code."
            )
    return [str(file) for file in files.values() if file.is_file()]


def row_settings(row):
    """What decides a row's clips, as the JSON that its rule tracks and its script receives."""
    baseline = BASELINES.get(row)
    if baseline is None:
        return as_json(control_settings(SUITE, row))
    if row in NATIVE:
        return as_json(sampling_settings(SUITE, baseline))
    if row in IMPORTED:
        return as_json(import_settings(SUITE, baseline))
    return as_json(external_settings(SUITE, baseline, ROOT))


def outside_files(row):
    """Files outside the workflow that a row is made from: imported clips, or an external baseline's weights."""
    baseline = BASELINES[row]
    if row in IMPORTED:
        return original_files(Path(baseline.clips.path))
    return [Path(name) for name in baseline.files]


def outside_changed(wildcards):
    """The note that a row's outside files changed since it was made, if they ever did."""
    note = outside_note(Path(CLIPS.format(row=wildcards.row)))
    return [str(note)] if note.is_file() else []


def own_files(row):
    """Files that only some trained rows have, by flag: weights of the fake score, a list of prompts, latents of real clips, weights of rewards."""
    plan = SUITE.train[row]
    return {
        "fake": [plan.fake] if plan.fake else [],
        "prompts": [plan.prompts] if plan.prompts else [],
        "data": [plan.data] if plan.data else [],
        "rewards": [plan.rewards] if plan.rewards else [],
    }


def train_shape(row):
    """What a training job asks Slurm for, in the plugin's words; None is not asked for.

    One node: GPUs of the job. Several: GPUs of each node, and `mpi`, which keeps the plugin from wrapping the job in an srun of
    its own (one launcher starts on each node, workflow/scripts/launch.py); tasks_per_node then means CPU slots.
    """
    plan = SUITE.train[row]
    if plan.nodes == 1:
        return {
            "threads": plan.gpus,
            "gpu": plan.gpus,
            "gres": None,
            "mpi": None,
            "tasks_per_node": None,
        }
    return {
        "threads": 1,
        "gpu": None,
        "gres": f"gpu:{plan.gpus}",
        "mpi": "srun",
        "tasks_per_node": max(2, plan.gpus),
    }


def reward_environment(row):
    """The environment of VBench, in which most rewards of real clips are computed, where a rule of this suite builds it.

    A name without the hash of its lock: another environment scores anew, it does not train anew.
    """
    built = SUITE.train[row].rewards and SUITE.benchmark in OFFICIAL_BENCHMARKS
    return [ancient(VBENCH_READY)] if built else []


def train_digest(plan):
    """Digest of the modules that train a row, and of those that compute its rewards in another environment."""
    own = digest(f"workflow.scripts.train_{plan.recipe}")
    return own + (digest("evaluation.vbench.worker.reward_worker") if plan.rewards else "")


def row_weights(row):
    """Name of a row's weights: the row itself where it is trained, else its file."""
    return row if row in SUITE.train else SUITE.weights[row]


def scorer(dimension):
    """Module that scores one dimension."""
    return SCORERS[SUITE.benchmark].format(dimension=dimension)


def scorer_digest(dimension):
    """Digest of the modules this one scorer imports."""
    return digest(scorer(dimension))


def scoring_rules():
    """Rule files that filter and score: the official VBench is an environment of its own and works in parts."""
    names = ["official"] if SUITE.benchmark in OFFICIAL_BENCHMARKS else ["filter", "score"]
    return [f"workflow/rules/{name}.smk" for name in names]


def row_names():
    """Label and kind of every line of the table, in its order; embedded rows say that they are toys."""
    toy = " recipe (toy)" if SUITE.benchmark == "toybox" else ""
    said = {"native": toy, "external": " (external)", "import": " (imported)"}
    baselines = {
        row: {"label": baseline.title + said[baseline.kind], "kind": baseline.kind}
        for row, baseline in BASELINES.items()
    }
    rows = baselines | {row: {"label": CONTROLS[row], "kind": "control"} for row in SUITE.controls}
    return {row: name for row, name in rows.items() if row in ROWS}


def held_gpus():
    """GPUs of jobs that hold another number than one, by rule and row."""
    return {f"train/{row}": plan.nodes * plan.gpus for row, plan in SUITE.train.items()} | {
        f"external/{row}": BASELINES[row].gpus for row in EXTERNAL
    }


def report_settings():
    """What the report is told beside the results: names, kinds and settings of every row."""
    rows = row_names()
    for row, baseline in BASELINES.items():
        if row not in ROWS:
            continue
        rows[row]["licence"] = baseline.licence
        rows[row]["citation"] = baseline.citation
        if row in NATIVE:
            rows[row]["settings"] = settings_in_use(SUITE, baseline)
        else:
            shown = outside_settings_in_use(SUITE, baseline, ROOT)
            rows[row]["settings"] = scrub(shown, str(ROOT))
    for row in SUITE.controls:
        if row not in ROWS:
            continue
        rows[row]["settings"] = control_settings(SUITE, row)
    base = ROOT / "models" / "embedded" / "base.json"
    if SUITE.benchmark == "toybox" and base.is_file() and ONLY is None:
        rows["base"] = {
            "label": "Bidirectional base model (toy)",
            "kind": "shipped",
            "settings": {},
            "scores": json.loads(base.read_text(encoding="utf-8"))["suite_scores"],
            "scores_source": "models/embedded/base.json (same prompts, before mp4)",
        }
    notes = [note for note in (SUITE.report.note, protocol_note(ROOT, SUITE)) if note is not None]
    return {
        "suite": SUITE.suite,
        "label": SUITE.label,
        "bounds": SUITE.benchmark,
        "rows": rows,
        "config": SUITE.model_dump(mode="json"),
        "gpus": held_gpus(),
        "licences": [line.model_dump() for line in licences_of(ROOT, SUITE, BASELINES)],
        **SUITE.report.model_dump(),
        "note": " ".join(notes) or None,
    }


if workflow.is_main_process:
    check_own_list(SUITE, ROOT)
    if has_own_list(SUITE):
        keep_copy(ROOT / SUITE.prompts.list, Path(kept_list()))
    for row in SUITE.rows:
        folders = {Path(part) / "clips" / row for part in (RESULTS, PART)}
        if gone := [name for folder in folders for name in note_lost_clips(folder)]:
            logger.warning(
                f"{row}: {len(gone)} clips that were finished are gone ({', '.join(gone[:3])}"
                f"{', ...' if len(gone) > 3 else ''}); they will be made again."
            )
    for row in EXTERNAL + IMPORTED:
        if changed := note_changes(Path(RESULTS) / "clips" / row, outside_files(row)):
            logger.warning(
                f"{row}: {len(changed)} files it was made from have changed ({', '.join(changed[:3])}"
                f"{', ...' if len(changed) > 3 else ''}); it will be made again."
            )


def require_fetched():
    """Stop before the first job, in one screen, if files that it needs were never fetched, or if a stage of it does not exist."""
    if SUITE.resources and (screen := missing_resources(ROOT, SUITE)):
        raise WorkflowError(screen)
    rules = {job.rule.name for job in workflow.dag.needrun_jobs()}
    rewarded = {
        job.wildcards.row
        for job in workflow.dag.needrun_jobs()
        if job.rule.name == "train"
        and SUITE.train[job.wildcards.row].rewards
        and not reward_environment(job.wildcards.row)
    }
    if rewarded and (fault := missing_reward_environment(ROOT)):
        raise WorkflowError(f"{', '.join(sorted(rewarded))}: {fault}")
    if "vbench_weights" in rules and (screen := missing_resources(ROOT, SUITE, scorer=True)):
        raise WorkflowError(screen)


def require_outside():
    """Stop before the first job, naming all at once, if code, environments or clips of the rows to be made are not here."""
    rows = {
        job.wildcards.row
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in ("external_contract", "external", "import_clips")
    }
    missing = [text for row in sorted(rows) for text in missing_parts(ROOT, BASELINES[row])]
    if missing:
        raise WorkflowError("\n".join([*missing, "Nothing was started."]))


def print_start():
    """Say what is about to be done and what it will cost, note that, then say how far it is. A replay makes nothing new."""
    if all(job.rule.name.startswith("replay") for job in workflow.dag.needrun_jobs()):
        return
    prompts = planned_prompts(SUITE, ROOT)
    suite = chosen_suite()
    if ONLY:
        link_subset(Path(RESULTS), ONLY)
        prompts = chosen_prompts(prompts, ONLY.prompts, ONLY.samples)
        logger.info(f"Note: {ONLY.sentence} Its table goes to {OUT}.")
    left = len(jobs_so_far()[1])
    start = this_start(suite, prompts, root=ROOT, config=CONFIG, command=sys.argv, jobs=left)
    note_start(Path(OUT), start)
    logger.info(start_banner(suite, prompts))
    shapes = shape_notes(SUITE, BASELINES.values())
    for notice in (*start_notices(SUITE, prompts, ROOT), *shapes):
        logger.info(f"Note: {notice}")
    start_progress(jobs_so_far, job_costs(suite, prompts), SUITE.rates.job_s, logger.info)


def jobs_so_far():
    """Rule names of this run's finished and unfinished jobs."""
    jobs = list(workflow.dag.needrun_jobs(exclude_finished=False))
    finished = [job.rule.name for job in jobs if workflow.dag.finished(job)]
    return finished, [job.rule.name for job in jobs if not workflow.dag.finished(job)]
