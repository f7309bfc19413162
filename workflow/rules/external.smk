# prompts + somebody's program -> external/<row>/contract.json, then clips/<row>/shards/<i>-of-<n>.{manifest,timings}.jsonl
# Only rows that the suite's `allow_external` names; rows without a command are made by the rules of their own folder.


rule external_contract:
    """Let an external baseline make one clip and prove it, before the rest of that baseline is asked for."""
    input:
        prompts=PROMPTS,
        changed=outside_changed,
    output:
        contract=f"{RESULTS}/external/{{row}}/contract.json",
    log:
        f"{LOGS}/external_contract/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/external_contract/{{row}}.tsv"
    wildcard_constraints:
        row=never_matching([row for row in EXTERNAL if BASELINES[row].command]),
    threads: lambda wc: BASELINES[wc.row].threads
    resources:
        gpu=lambda wc: 0 if SUITE.device == "cpu" else BASELINES[wc.row].gpus,
        runtime=lambda wc: BASELINES[wc.row].timeout_s // 60 + 30,
    params:
        settings=lambda wc: row_settings(wc.row),
        baseline=lambda wc: f"baselines/{wc.row}.yaml",
        code=lambda wc: digest("workflow.scripts.external"),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.external contract --row {wildcards.row:q} --prompts {input.prompts:q}"
        " --settings {params.settings:q} --baseline {params.baseline:q} --clips {params.folder:q}"
        " --output {output.contract:q} > {log:q} 2>&1"


rule external:
    """Let an external baseline make one shard of its row; clips are proven and taken in, so that a stopped shard goes on."""
    input:
        prompts=PROMPTS,
        contract=f"{RESULTS}/external/{{row}}/contract.json",
        lost=lost,
        changed=outside_changed,
    output:
        manifest=f"{SHARD}.manifest.jsonl",
        timings=f"{SHARD}.timings.jsonl",
    log:
        f"{LOGS}/external/{{row}}/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/external/{{row}}/{{shard}}.tsv"
    wildcard_constraints:
        row=never_matching([row for row in EXTERNAL if BASELINES[row].command]),
    threads: lambda wc: BASELINES[wc.row].threads
    resources:
        gpu=lambda wc: 0 if SUITE.device == "cpu" else BASELINES[wc.row].gpus,
        runtime=lambda wc: BASELINES[wc.row].timeout_s // 60 + 30,
    params:
        settings=lambda wc: row_settings(wc.row),
        baseline=lambda wc: f"baselines/{wc.row}.yaml",
        code=lambda wc: digest("workflow.scripts.external"),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.external shard --row {wildcards.row:q} --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q} --settings {params.settings:q} --baseline {params.baseline:q}"
        " --clips {params.folder:q} --manifest {output.manifest:q} --timings {output.timings:q} > {log:q} 2>&1"
