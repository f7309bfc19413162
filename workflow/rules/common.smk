# What all rules share: the suite, its baselines, the folders that paths start with. No job is defined here.
# Only `from ... import` below: `import workflow.x` would hide Snakemake's own `workflow`.
import atexit
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from baselines.spec import load_row
from reports.starts import note_start
from workflow.external.baseline import shape_notes
from workflow.external.changed_files import changes_note
from workflow.planning.acceptance import CodeBook
from workflow.planning.banner import (
    check_user_list,
    expected_prompts,
    gpu_slots,
    missing_for_jobs,
    planned_prompts,
    put_python_first,
    run_needs,
    start_notices,
    this_start,
)
from workflow.planning.code_digest import GPU_ONLY
from workflow.planning.custom_dimensions import custom_dimensions
from workflow.planning.missing_clips import missing_note
from workflow.planning.missing_results import gone_note, missing_warnings
from workflow.planning.needs import released_alternative
from workflow.planning.paths import folders_of, has_user_list, prompt_list_copy
from workflow.planning.progress import job_costs, start_progress
from workflow.planning.prompt_plan import keep_copy
from workflow.planning.row_plan import clip_settings, included_rules, rows_of_kind
from workflow.planning.subset import (
    choose_subset,
    chosen_prompts,
    chosen_suite,
    make_subset_folder,
)
from workflow.planning.suite import RELEASED, config_name, load_suite

put_python_first()

# A limit of GPUs is one of this machine (--profile gpus): jobs then wait for a GPU of their own.
ON_GPU = ""
if "gpu" in workflow.global_resources:
    ON_GPU = "python -m workflow.scripts.on_gpu "
    if workflow.global_resources["gpu"].value == 0:
        workflow.register_resource("gpu", gpu_slots(os.environ))

REPLACED = dict(workflow.config_settings.config)
ONLY = REPLACED.pop("only", None)
AS_RELEASED = REPLACED.get("weights") == RELEASED
CONFIG = config_name(ROOT, workflow.configfiles)
SUITE = load_suite(ROOT, workflow.configfiles, REPLACED)
BASELINES = {row: load_row(ROOT / "baselines" / f"{row}.yaml") for row in SUITE.baselines}
NATIVE = rows_of_kind(BASELINES, "native")
EXTERNAL = rows_of_kind(BASELINES, "external")
IMPORTED = rows_of_kind(BASELINES, "import")
CUSTOM = {custom.name: custom for custom in custom_dimensions(SUITE, ROOT)}

# What this run is about: all of the suite, or the part that --config only="..." chooses.
SUBSET = choose_subset(
    ONLY,
    rows=SUITE.rows,
    dimensions=SUITE.dimensions,
    custom=list(CUSTOM.values()),
    listed=lambda: planned_prompts(SUITE, ROOT),
)
CHOSEN = chosen_suite(SUITE, SUBSET)
FOLDERS = folders_of(SUITE, SUBSET)


# Of a whole run all three are results/<suite> (workflow/planning/paths.py says what each is in a subset).
pathvars:
    suite=FOLDERS.suite,
    results=FOLDERS.results,
    run=FOLDERS.run,


def only_rows(rows):
    """A wildcard constraint that admits only these rows; nothing if there are none."""
    return "|".join(rows) or "(?!)"


wildcard_constraints:
    row=only_rows(SUITE.rows),
    dimension="|".join(SUITE.dimensions),
    custom="|".join(SUITE.custom_dimensions) or "(?!)",
    shard=r"\d+-of-\d+",


def as_json(value):
    """Compact JSON in the order given, since that of rows means something."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# code_of(modules, or functions of the wildcards that name them) is what jobs track of their code.
CODE = CodeBook(ROOT, Path(FOLDERS.suite), GPU_ONLY if SUITE.device == "cpu" else ())
code_of = CODE.code_of


def row_settings(row):
    """What decides a row's clips, as the JSON that its rule tracks and its script receives."""
    return as_json(clip_settings(SUITE, BASELINES, ROOT, row))


def shards_folder(row):
    """Where a row's shards are listed. A subset takes in clips that were made elsewhere as a whole."""
    return f"{FOLDERS.suite if row in EXTERNAL + IMPORTED else FOLDERS.results}/clips/{row}/shards"


def missing_clips(row, shard):
    """The note of clips that this shard made and that were deleted since, if there ever was one."""
    note = missing_note(Path(shards_folder(row)) / f"{shard}.manifest.jsonl")
    return [str(note)] if note.is_file() else []


def changed_inputs(wildcards):
    """The note that files from outside changed since this row was made from them, if they ever did."""
    note = changes_note(Path(FOLDERS.suite) / "clips" / wildcards.row)
    return [str(note)] if note.is_file() else []


if workflow.is_main_process:
    check_user_list(SUITE, ROOT)
    if has_user_list(SUITE):
        keep_copy((ROOT / SUITE.prompts.list).read_bytes(), Path(prompt_list_copy(SUITE)))
    if SUBSET:
        make_subset_folder(Path(FOLDERS.suite), SUBSET, lambda: planned_prompts(SUITE, ROOT))
    for warning in (*CODE.warnings(), *missing_warnings(FOLDERS, SUITE, BASELINES)):
        logger.warning(warning)


def print_start():
    """Stop if anything is missing; else say what will be done at which cost. Not so of a replay."""
    jobs = jobs_to_run()
    if missing := missing_for_jobs(ROOT, SUITE, BASELINES, jobs, released=AS_RELEASED):
        prompts = None if SUBSET else expected_prompts(SUITE, ROOT)
        raise WorkflowError("\n".join([*needs_of(jobs, prompts), missing]))
    if all(rule.startswith("replay") for rule, _ in jobs):
        return
    CODE.remember()
    prompts = chosen_prompts(planned_prompts(SUITE, ROOT), SUBSET)
    left = len(jobs_so_far()[1])
    start = this_start(
        CHOSEN, prompts, root=ROOT, config=CONFIG, replaced=REPLACED, command=sys.argv, jobs=left
    )
    note_start(Path(FOLDERS.run), start)
    if SUBSET:
        logger.info(f"Note: {SUBSET.note} Its table goes to {FOLDERS.run}.")
    for line in needs_of(jobs, prompts):
        logger.info(line)
    for notice in (*start_notices(SUITE, prompts, ROOT), *shape_notes(SUITE, BASELINES.values())):
        logger.info(f"Note: {notice}")
    start_progress(jobs_so_far, job_costs(CHOSEN, prompts), SUITE.rates.job_s, logger.info)


def print_dry_run():
    """At the end of a dry run that has jobs: what they need and this machine lacks, time and disk."""
    if not workflow.dryrun or workflow.dag is None or not (jobs := jobs_to_run()):
        return
    if all(rule.startswith("replay") for rule, _ in jobs):
        return
    missing = missing_for_jobs(ROOT, SUITE, BASELINES, jobs, released=AS_RELEASED)
    if SUBSET:
        prompts = None if missing else chosen_prompts(planned_prompts(SUITE, ROOT), SUBSET)
    else:
        prompts = expected_prompts(SUITE, ROOT)
    sys.stderr.write("\n".join(["", *needs_of(jobs, prompts), *([missing] if missing else []), ""]))


if workflow.is_main_process:
    atexit.register(print_dry_run)  # Snakemake has no hook for dry runs


def jobs_to_run():
    """Rule, and row (or custom dimension) if it has one, of every job that is to be run; a dry run calls them
    finished at its end.
    """
    jobs = workflow.dag.needrun_jobs(exclude_finished=not workflow.dryrun)
    return {(job.rule.name, job.wildcards.get("row", job.wildcards.get("custom"))) for job in jobs}


def needs_of(jobs, prompts):
    """What jobs need, a sentence each, the cheaper way first."""
    alternative = released_alternative(ROOT, workflow.configfiles, REPLACED)
    return run_needs(ROOT, CHOSEN, prompts, jobs, alternative)


def jobs_so_far():
    """Rule names of this run's finished and unfinished jobs."""
    finished = [job.rule.name for job in workflow.dag.finished_jobs]
    return finished, [job.rule.name for job in workflow.dag.needrun_jobs()]
