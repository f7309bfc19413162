# initial weights + teacher -> train/<row>/{runs/<identity>/, links to the current run, train.json, heldout.json}
# Checkpoints and metrics are not declared: they must survive a killed job, so that training resumes.
from workflow.planning.paths import local_weights, tracked_file, weights_file, weights_record
from workflow.planning.row_plan import (
    heldout_modules,
    heldout_rows,
    reward_environment,
    training_data,
    training_flags,
    training_modules,
    training_shape,
)


rule train:
    """Train one row by its recipe; resumes from the last checkpoint of the same settings and code."""
    input:
        init=lambda wc: weights_record(SUITE, SUITE.train[wc.row].init),
        teacher=lambda wc: weights_record(SUITE, SUITE.train[wc.row].teacher),
        fake=lambda wc: [weights_record(SUITE, name) for name in [SUITE.train[wc.row].fake] if name],
        lists=lambda wc: [tracked_file(SUITE, name) for name in training_data(SUITE.train[wc.row]).values()],
        codec=weights_record(SUITE, SUITE.model.codec),
        text=weights_record(SUITE, SUITE.model.text),
        environment=lambda wc: ancient(reward_environment(SUITE, wc.row)),
        weights=lambda wc: ancient(local_weights(SUITE, *SUITE.train[wc.row].networks)),
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
        settings=lambda wc: SUITE.train_settings(wc.row),
        init=lambda wc: weights_file(SUITE, SUITE.train[wc.row].init),
        teacher=lambda wc: weights_file(SUITE, SUITE.train[wc.row].teacher),
        codec=SUITE.model.codec,
        text=SUITE.model.text,
        optional=lambda wc: training_flags(SUITE, wc.row),
        size=f"{SUITE.model.latent_height} {SUITE.model.latent_width}",
        precision=SUITE.sample.precision,
        device=SUITE.device,
        code=code_of(lambda wc: training_modules(SUITE, wc.row)),
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


rule score_heldout:
    """Score held-out prompts before and after training a row: nothing here decides its weights."""
    input:
        trained="<suite>/train/{row}/train.json",
        init=lambda wc: weights_record(SUITE, SUITE.train[wc.row].init),
        lists=lambda wc: [tracked_file(SUITE, name) for name in training_data(SUITE.train[wc.row]).values()],
        codec=weights_record(SUITE, SUITE.model.codec),
        text=weights_record(SUITE, SUITE.model.text),
        environment=lambda wc: ancient(reward_environment(SUITE, wc.row)),
        weights=lambda wc: ancient(local_weights(SUITE, SUITE.train[wc.row].init)),
    output:
        heldout="<suite>/train/{row}/heldout.json",
    log:
        "<suite>/logs/score_heldout/{row}.log",
    benchmark:
        "<suite>/benchmarks/score_heldout/{row}.tsv"
    wildcard_constraints:
        row=only_rows(heldout_rows(SUITE)),
    threads: 1
    params:
        settings=lambda wc: SUITE.train_settings(wc.row),
        init=lambda wc: weights_file(SUITE, SUITE.train[wc.row].init),
        codec=SUITE.model.codec,
        text=SUITE.model.text,
        optional=lambda wc: training_flags(SUITE, wc.row),
        size=f"{SUITE.model.latent_height} {SUITE.model.latent_width}",
        precision=SUITE.sample.precision,
        device=SUITE.device,
        before=lambda wc: SUITE.train[wc.row].init,
        code=code_of(lambda wc: heldout_modules(SUITE.train[wc.row])),
        folder=subpath(output.heldout, parent=True),
    shell:
        "{ON_GPU}python -m workflow.scripts.score_heldout"
        " --settings {params.settings:q}"
        " --train {params.folder:q}"
        " --before {params.before:q}"
        " --init {params.init:q}"
        " --codec {params.codec:q}"
        " --text {params.text:q}"
        " {params.optional:q}"
        " --latent-size {params.size}"
        " --precision {params.precision:q}"
        " --device {params.device:q}"
        " --output {output.heldout:q}"
        " > {log:q} 2>&1"
