# train/<row>/checkpoint (distributed) -> weights/<row>/<flavour>.{safetensors,json}


rule convert_raven:
    """Turn a distributed checkpoint into one safetensors file of full weights."""
    input:
        trained=f"{RESULTS}/train/{{row}}/train.json",
    output:
        **converted("full"),
    log:
        f"{LOGS}/convert/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/convert/{{row}}.tsv"
    wildcard_constraints:
        row=never_matching([row for row, plan in SUITE.train.items() if plan.recipe == "raven"]),
    priority: 10
    threads: 1
    params:
        settings=SUITE.raven and SUITE.recipe_settings("raven"),
        folder=lambda wc: f"{RESULTS}/weights/{wc.row}",
        code=lambda wc: digest("workflow.scripts.convert"),
    shell:
        "python -m workflow.scripts.convert --train-dir $(dirname {input.trained:q})"
        " --settings {params.settings:q} --output-dir {params.folder:q} > {log:q} 2>&1"


rule convert_cm_grpo:
    """Turn an adapter's checkpoint into adapter, bundle (base and adapter) and merged safetensors."""
    input:
        trained=f"{RESULTS}/train/{{row}}/train.json",
        base=lambda wc: description(SUITE.train[wc.row].init),
        base_weights=lambda wc: declared(SUITE.train[wc.row].init),
    output:
        **converted("adapter", "bundle", "merged"),
    log:
        f"{LOGS}/convert/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/convert/{{row}}.tsv"
    wildcard_constraints:
        row=never_matching([row for row, plan in SUITE.train.items() if plan.recipe == "cm_grpo"]),
    priority: 10
    threads: 1
    params:
        settings=SUITE.cm_grpo and SUITE.recipe_settings("cm_grpo"),
        base=lambda wc: weights_file(SUITE.train[wc.row].init),
        folder=lambda wc: f"{RESULTS}/weights/{wc.row}",
        code=lambda wc: digest("workflow.scripts.convert"),
    shell:
        "python -m workflow.scripts.convert --train-dir $(dirname {input.trained:q})"
        " --settings {params.settings:q} --base {params.base:q} --output-dir {params.folder:q} > {log:q} 2>&1"
