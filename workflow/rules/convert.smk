# train/<row>/checkpoint (distributed) -> weights/<row>/<flavour>.{safetensors,json}
# Checkpoints, so that weights made again with the same bytes train and sample nothing anew, as in check.smk.


checkpoint convert_raven:
    """Turn a distributed checkpoint into one safetensors file of full weights."""
    input:
        trained="<suite>/train/{row}/train.json",
    output:
        full_manifest="<suite>/weights/{row}/full.json",
        full_weights="<suite>/weights/{row}/full.safetensors",
    log:
        "<suite>/logs/convert/{row}.log",
    benchmark:
        "<suite>/benchmarks/convert/{row}.tsv"
    wildcard_constraints:
        row=only_rows(row for row, plan in SUITE.train.items() if plan.recipe == "raven"),
    priority: 10
    params:
        train=subpath(input.trained, parent=True),
        settings=lambda wc: SUITE.train_settings(wc.row),
        folder=subpath(output.full_manifest, parent=True),
        code=code_of("workflow.scripts.convert"),
    shell:
        "python -m workflow.scripts.convert"
        " --train-dir {params.train:q}"
        " --settings {params.settings:q}"
        " --output-dir {params.folder:q}"
        " > {log:q} 2>&1"


checkpoint convert_cm_grpo:
    """Turn an adapter's checkpoint into adapter, bundle (base and adapter) and merged safetensors."""
    input:
        trained="<suite>/train/{row}/train.json",
        base=lambda wc: weights_record(SUITE, SUITE.train[wc.row].init),
        base_weights=lambda wc: ancient(local_weights(SUITE, SUITE.train[wc.row].init)),
    output:
        adapter_manifest="<suite>/weights/{row}/adapter.json",
        adapter_weights="<suite>/weights/{row}/adapter.safetensors",
        bundle_manifest="<suite>/weights/{row}/bundle.json",
        bundle_weights="<suite>/weights/{row}/bundle.safetensors",
        merged_manifest="<suite>/weights/{row}/merged.json",
        merged_weights="<suite>/weights/{row}/merged.safetensors",
    log:
        "<suite>/logs/convert/{row}.log",
    benchmark:
        "<suite>/benchmarks/convert/{row}.tsv"
    wildcard_constraints:
        row=only_rows(row for row, plan in SUITE.train.items() if plan.recipe == "cm_grpo"),
    priority: 10
    params:
        train=subpath(input.trained, parent=True),
        settings=lambda wc: SUITE.train_settings(wc.row),
        base=lambda wc: weights_file(SUITE, SUITE.train[wc.row].init),
        folder=subpath(output.adapter_manifest, parent=True),
        code=code_of("workflow.scripts.convert"),
    shell:
        "python -m workflow.scripts.convert"
        " --train-dir {params.train:q}"
        " --settings {params.settings:q}"
        " --base {params.base:q}"
        " --output-dir {params.folder:q}"
        " > {log:q} 2>&1"
