# initial weights + teacher -> train/<row>/{states/, checkpoint (a link), metrics.jsonl, train.json}
# Only train.json is declared: checkpoints and metrics must survive a killed job, so that training resumes.
from workflow.fetching.checksums import FETCHED_FOLDER
from workflow.planning.paths import fetched_checksums, weights_file, weights_record
from workflow.planning.row_plan import training_data, training_shape
from workflow.planning.suite import OFFICIAL_BENCHMARKS


def weights_inputs(*names):
    """Weights as inputs, unless they were fetched: their checksum record stands for them. None is no name."""
    local = [name for name in names if name and not name.startswith(FETCHED_FOLDER)]
    return [ancient(weights_file(SUITE, name)) for name in local]


def training_lists(wildcards):
    """The row's files of training data; the checksum record of those that were fetched."""
    return [
        fetched_checksums(SUITE) if name.startswith(FETCHED_FOLDER) else name
        for name in training_data(SUITE.train[wildcards.row]).values()
    ]


def training_flags(wildcards):
    """Flags that only some rows have."""
    plan = SUITE.train[wildcards.row]
    files = {"fake": plan.fake} if plan.fake else {}
    flags = [f"--{flag}={name}" for flag, name in (files | training_data(plan)).items()]
    return flags + ([f"--fps={SUITE.clip.fps}"] if plan.rewards else [])


def reward_environment(wildcards):
    """The environment of VBench, in which most rewards of real clips are computed, where we build it.

    A name without the hash of its lock: another environment scores anew, it does not train anew.
    """
    built = SUITE.train[wildcards.row].rewards and SUITE.benchmark in OFFICIAL_BENCHMARKS
    return [ancient(".venvs/vbench/built")] if built else []


def training_code(plan):
    """Digest of the modules that train a row, and of those that compute its rewards in that environment."""
    code = digest(f"workflow.scripts.train_{plan.recipe}")
    return code + (digest("evaluation.vbench.worker.reward_worker") if plan.rewards else "")


rule train:
    """Train one row by its recipe; resumes from the last checkpoint of the same settings and code."""
    input:
        init=lambda wc: weights_record(SUITE, SUITE.train[wc.row].init),
        teacher=lambda wc: weights_record(SUITE, SUITE.train[wc.row].teacher),
        fake=lambda wc: [weights_record(SUITE, name) for name in [SUITE.train[wc.row].fake] if name],
        lists=training_lists,
        codec=weights_record(SUITE, SUITE.model.codec),
        text=weights_record(SUITE, SUITE.model.text),
        environment=reward_environment,
        weights=lambda wc: weights_inputs(
            SUITE.train[wc.row].init, SUITE.train[wc.row].teacher, SUITE.train[wc.row].fake
        ),
    output:
        manifest="<suite>/train/{row}/train.json",
    log:
        "<suite>/logs/train/{row}.log",
    benchmark:
        "<suite>/benchmarks/train/{row}.tsv"
    wildcard_constraints:
        row=only_rows(SUITE.train),
    priority: 10
    # One thread a process: other rows are sampled and scored beside it, and two OpenMP threads that share a
    # core wait for each other 40 times longer.
    threads: lambda wc: training_shape(SUITE.train[wc.row]).threads
    resources:
        # How many processes, on how many nodes: of no influence on the result, so nothing here makes a
        # finished run start again.
        nodes=lambda wc: SUITE.train[wc.row].nodes,
        processes=lambda wc: SUITE.train[wc.row].gpus,
        gpu=lambda wc: training_shape(SUITE.train[wc.row]).gpu,
        gres=lambda wc: training_shape(SUITE.train[wc.row]).gres,
        mpi=lambda wc: training_shape(SUITE.train[wc.row]).mpi,
        tasks_per_node=lambda wc: training_shape(SUITE.train[wc.row]).tasks_per_node,
        execution=lambda wc: SUITE.train[wc.row].execution,
    params:
        recipe=lambda wc: SUITE.train[wc.row].recipe,
        settings=lambda wc: SUITE.recipe_settings(SUITE.train[wc.row].recipe),
        init=lambda wc: weights_file(SUITE, SUITE.train[wc.row].init),
        teacher=lambda wc: weights_file(SUITE, SUITE.train[wc.row].teacher),
        codec=SUITE.model.codec,
        text=SUITE.model.text,
        optional=training_flags,
        size=f"{SUITE.model.latent_height} {SUITE.model.latent_width}",
        precision=SUITE.sample.precision,
        device=SUITE.device,
        code=lambda wc: training_code(SUITE.train[wc.row]),
        folder=subpath(output.manifest, parent=True),
    shell:
        # exec: a signal of Slurm must reach the launcher, and would end a shell that waits for it
        "exec python -m workflow.scripts.launch"
        " --nodes {resources.nodes}"
        " --processes {resources.processes}"
        " workflow.scripts.train_{params.recipe}"
        " --recipe {params.recipe:q}"
        " --settings {params.settings:q}"
        " --execution {resources.execution:q}"
        " --init {params.init:q}"
        " --teacher {params.teacher:q}"
        " --text {params.text:q}"
        " --codec {params.codec:q}"
        " {params.optional:q}"
        " --latent-size {params.size}"
        " --precision {params.precision:q}"
        " --device {params.device:q}"
        " --code {params.code:q}"
        " --output {params.folder:q}"
        " > {log:q} 2>&1"
