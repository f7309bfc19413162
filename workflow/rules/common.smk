# What all rules share: the suite, its baselines, the folders that paths start with. No job is defined here.
# Only `from ... import` below: `import workflow.x` would hide Snakemake's own `workflow`.
import atexit
import gc
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
# Jobs and syntax trees live until the end: looking through them for garbage after every 700 new objects is a
# tenth of a dry run.
gc.set_threshold(100_000)

from snakemake.logging import logger

from baselines.spec import load_row
from workflow.external.changed_files import changes_note
from workflow.planning.acceptance import CodeBook
from workflow.planning.banner import gpu_slots, planned_prompts
from workflow.planning.code_digest import GPU_ONLY
from workflow.planning.console import PLAIN_ERRORS
from workflow.planning.custom_dimensions import custom_dimensions
from workflow.planning.missing_clips import missing_note
from workflow.planning.missing_results import gone_note
from workflow.planning.paths import baseline_file, folders_of, has_user_list, own_folder, prompt_list_copy
from workflow.planning.run_events import RunEvents
from workflow.planning.row_plan import (
    clip_settings,
    included_rules,
    rows_of_kind,
    scored_metrics,
    threads_to_sample,
)
from workflow.planning.subset import choose_subset, chosen_suite
from workflow.planning.suite_file import config_name, load_suite
from workflow.planning.surroundings import keep_freed_memory, settle_surroundings

settle_surroundings(ROOT)
logger.addFilter(PLAIN_ERRORS)

# A limit of GPUs is one of this machine (--profile gpus): jobs then wait for a GPU of their own.
ON_GPU = ""
if "gpu" in workflow.global_resources:
    ON_GPU = "python -m workflow.scripts.on_gpu "
    if workflow.global_resources["gpu"].value == 0:
        workflow.register_resource("gpu", gpu_slots(os.environ))


def sampling_threads(wildcards):
    """Cores of a job that samples (workflow/planning/row_plan.py): its share of what this run was given."""
    gpus = workflow.global_resources["gpu"].value if "gpu" in workflow.global_resources else 1
    return threads_to_sample(SUITE.device, workflow.resource_settings.cores, gpus)


REPLACED = dict(workflow.config_settings.config)
ONLY = REPLACED.pop("only", None)
CONFIG = config_name(ROOT, workflow.configfiles)
SUITE = load_suite(ROOT, workflow.configfiles, REPLACED)
if SUITE.device == "cpu":
    keep_freed_memory()
BASELINES = {row: load_row(ROOT / baseline_file(SUITE, row)) for row in SUITE.baselines}
NATIVE = rows_of_kind(BASELINES, "native")
EXTERNAL = rows_of_kind(BASELINES, "external")
IMPORTED = rows_of_kind(BASELINES, "import")
RESULTS = rows_of_kind(BASELINES, "results")
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
WITH_CLIPS = [row for row in CHOSEN.rows if row not in RESULTS]


# Of a whole run all three are results/<suite> (workflow/planning/paths.py says what each is in a subset).
pathvars:
    suite=FOLDERS.suite,
    results=FOLDERS.results,
    run=FOLDERS.run,


def only_rows(rows):
    """A wildcard constraint that admits only these rows; nothing if there are none."""
    return "|".join(rows) or "(?!)"


wildcard_constraints:
    row=only_rows([row for row in SUITE.rows if row not in RESULTS]),
    dimension="|".join(SUITE.dimensions),
    custom="|".join(SUITE.custom_dimensions) or "(?!)",
    shard=r"\d+-of-\d+",


def as_json(value):
    """Compact JSON in the order given, since that of rows means something. A brace in front of a word, which only
    a text of somebody's can hold, is escaped: Snakemake would take the word for a wildcard.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return re.sub(r"\{(?=\s*\w)", r"\\u007b", text)


# code_of(modules, or functions of the wildcards that name them) is what jobs track of their code.
CODE = CodeBook(ROOT, Path(FOLDERS.suite), GPU_ONLY if SUITE.device == "cpu" else ())
code_of = CODE.code_of


def imported_dimensions(row):
    """The dimensions of which a row's scores are imported: those of the run, or of the suite where all is
    shared.
    """
    return scored_metrics(CHOSEN if SUBSET and SUBSET.of_prompts else SUITE, BASELINES, row)


def row_settings(row):
    """What decides a row's clips, as the JSON that its rule tracks and its script receives."""
    return as_json(clip_settings(SUITE, BASELINES, ROOT, row))


def samples_of_row(wildcards):
    """The flag of a row of which only the first samples of each prompt are made."""
    row = wildcards.row
    return [f"--samples={SUITE.row_samples[row]}"] if row in SUITE.row_samples else []


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


def changed_fetched(folder):
    """The note that fetched files changed since they were verified into this folder, if they ever did."""
    note = changes_note(Path(FOLDERS.suite) / folder)
    return [str(note)] if note.is_file() else []


def changed_weights(wildcards):
    """The note that weights of the user's own changed since they were proven, if they ever did."""
    note = changes_note(own_folder(SUITE, wildcards.own))
    return [str(note)] if note.is_file() else []


# What a run says at its moments: the Snakefile calls `start` and `end`.
RUN = RunEvents(
    workflow=workflow,
    root=ROOT,
    config=CONFIG,
    replaced=REPLACED,
    suite=SUITE,
    subset=SUBSET,
    folders=FOLDERS,
    baselines=BASELINES,
    code=CODE,
)
if workflow.is_main_process:
    RUN.read()
    atexit.register(RUN.dry_run)  # Snakemake has no hook for dry runs
