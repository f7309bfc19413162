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
from evaluation.prompts import count_prompts
from reports.cost import read_stages
from reports.starts import note_start
from workflow.external.baseline import shape_notes
from workflow.external.changed_files import changes_note
from workflow.planning.acceptance import CodeBook
from workflow.planning.banner import (
    check_inputs,
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
from workflow.planning.console import (
    Board,
    Console,
    answer_of,
    is_wanted,
    jobs_left,
    last_lines,
    take_over,
)
from workflow.planning.custom_dimensions import custom_dimensions
from workflow.planning.dry_run import needed_jobs, summary
from workflow.planning.missing_clips import missing_note
from workflow.planning.missing_results import gone_note, missing_warnings
from workflow.planning.needs import released_alternative
from workflow.planning.paths import baseline_file, folders_of, has_user_list, prompt_list_copy
from workflow.planning.progress import Pace, job_costs
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
BASELINES = {row: load_row(ROOT / baseline_file(SUITE, row)) for row in SUITE.baselines}
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


def answer():
    """What a run ends with: the report if it was asked for one, the outcome of a replay."""
    rules = {job.rule.name for job in workflow.dag.jobs}
    replays = [
        Path(f"{FOLDERS.suite}/logs/{rule}.log") for rule in sorted(rules) if rule.startswith("replay")
    ]
    said = [line for log in replays for line in last_lines(log)]
    return [*said, *(answer_of(Path(FOLDERS.run)) if "report" in rules else [])]


def expected_seconds(prompts):
    """Of a job by rule, from the last run here or the suite's rates."""
    return job_costs(CHOSEN, prompts, read_stages(Path(FOLDERS.run)))


def planned():
    """What a dry run says that does not list its jobs."""
    expected = expected_prompts(SUITE, ROOT)
    prompts = [] if expected is None else chosen_prompts(expected, SUBSET)
    return summary(
        CHOSEN,
        needed_jobs(workflow.dag, CODE.changed_since),
        expected_seconds(prompts),
        count_prompts(prompts).clips,
        "Every job, with its files and its reason: raven-bench dry-run --list, or make dry-run FLAGS=--list.",
    )


CONSOLE = Console(workflow.output_settings, answer, planned)

if workflow.is_main_process:
    if is_wanted(workflow.output_settings):
        take_over(CONSOLE, logger)
    check_inputs(SUITE, ROOT)
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
    prompts = chosen_prompts(planned_prompts(SUITE, ROOT), SUBSET)
    if not all(rule.startswith("replay") for rule, _ in jobs):
        CODE.remember()
        left = len(list(workflow.dag.needrun_jobs()))
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
    pace = Pace(expected_seconds(prompts), SUITE.rates.job_s)
    if is_wanted(workflow.output_settings):
        slots = workflow.cores if workflow.local_exec else workflow.nodes
        board = Board(lambda: jobs_left(workflow.dag), pace, slots)
        CONSOLE.begin(board, slots if workflow.local_exec else 0)


def print_end(done):
    """Say how a run ended, and what came out."""
    CONSOLE.end()
    for line in (*CONSOLE.end_lines(done=done), *(answer() if done else [])):
        logger.info(line)


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
