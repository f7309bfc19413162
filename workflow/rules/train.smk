# initial weights + teacher -> train/<row>/{states/, checkpoint (a link), metrics.jsonl, train.json}
# Only train.json is declared: checkpoints and metrics must survive a killed job, so that training resumes.


rule train:
    """Train one row by its recipe (RAVEN or CM-GRPO); resumes from the last checkpoint of the same settings and code."""
    input:
        init=lambda wc: description(SUITE.train[wc.row].init),
        teacher=lambda wc: description(SUITE.train[wc.row].teacher),
        fake=lambda wc: [description(name) for name in own_files(wc.row)["fake"]],
        lists=lambda wc: [
            FETCHED if name.startswith("resources/") else name
            for flag in ("prompts", "data", "rewards")
            for name in own_files(wc.row)[flag]
        ],
        codec=description(SUITE.model.codec),
        text=description(SUITE.model.text),
        environment=lambda wc: reward_environment(wc.row),
        weights=lambda wc: [
            *declared(SUITE.train[wc.row].init),
            *declared(SUITE.train[wc.row].teacher),
            *[file for name in own_files(wc.row)["fake"] for file in declared(name)],
        ],
    output:
        manifest=f"{RESULTS}/train/{{row}}/train.json",
    log:
        f"{LOGS}/train/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/train/{{row}}.tsv"
    wildcard_constraints:
        row=never_matching(SUITE.train),
    priority: 10
    # One thread a process: other rows are sampled and scored beside it, and two OpenMP threads that share a core wait for each other 40 times longer.
    threads: lambda wc: train_shape(wc.row)["threads"]
    resources:
        # How many processes, on how many nodes: of no influence on the result, so nothing here makes a finished run start again.
        nodes=lambda wc: SUITE.train[wc.row].nodes,
        processes=lambda wc: SUITE.train[wc.row].gpus,
        gpu=lambda wc: train_shape(wc.row)["gpu"],
        gres=lambda wc: train_shape(wc.row)["gres"],
        mpi=lambda wc: train_shape(wc.row)["mpi"],
        tasks_per_node=lambda wc: train_shape(wc.row)["tasks_per_node"],
        execution=lambda wc: SUITE.train[wc.row].execution,
    params:
        recipe=lambda wc: SUITE.train[wc.row].recipe,
        settings=lambda wc: SUITE.recipe_settings(SUITE.train[wc.row].recipe),
        init=lambda wc: weights_file(SUITE.train[wc.row].init),
        teacher=lambda wc: weights_file(SUITE.train[wc.row].teacher),
        codec=SUITE.model.codec,
        text=SUITE.model.text,
        own=lambda wc: [f"--{flag}={name}" for flag, names in own_files(wc.row).items() for name in names]
        + ([f"--fps={SUITE.clip.fps}"] if SUITE.train[wc.row].rewards else []),
        size=f"{SUITE.model.latent_height} {SUITE.model.latent_width}",
        precision=SUITE.sample.precision,
        device=SUITE.device,
        code=lambda wc: train_digest(SUITE.train[wc.row]),
        folder=lambda wc: f"{RESULTS}/train/{wc.row}",
    shell:
        # exec: a signal of Slurm must reach the launcher, and would end a shell that waits for it
        "exec python -m workflow.scripts.launch --nodes {resources.nodes} --processes {resources.processes}"
        " workflow.scripts.train_{params.recipe} --recipe {params.recipe:q} --settings {params.settings:q}"
        " --execution {resources.execution:q}"
        " --init {params.init:q} --teacher {params.teacher:q} --text {params.text:q} --codec {params.codec:q}"
        " {params.own:q} --latent-size {params.size} --precision {params.precision:q} --device {params.device:q} --code {params.code:q}"
        " --output {params.folder:q} > {log:q} 2>&1"
