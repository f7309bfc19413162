# prompts + somebody's program -> external/<row>/contract.json, then the shards of a row as in sample.smk
# Only rows that the suite's `allow_external` names; rows without a command have rules of their own.
from workflow.planning.row_plan import external_gpus, external_minutes

COMMANDS = [row for row in EXTERNAL if BASELINES[row].command]


rule external_contract:
    """Let an external baseline make one clip and check it, before the rest of that baseline is asked for."""
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        changed=changed_inputs,
    output:
        contract="<suite>/external/{row}/contract.json",
    log:
        "<suite>/logs/external_contract/{row}.log",
    benchmark:
        "<suite>/benchmarks/external_contract/{row}.tsv"
    wildcard_constraints:
        row=only_rows(COMMANDS),
    threads: lambda wc: BASELINES[wc.row].threads
    resources:
        gpu=lambda wc: external_gpus(SUITE, BASELINES[wc.row]),
        runtime=lambda wc: external_minutes(BASELINES[wc.row]),
    params:
        settings=lambda wc: row_settings(wc.row),
        baseline="baselines/{row}.yaml",
        code=code_of("workflow.scripts.external"),
        folder=f"{FOLDERS.suite}/clips/{{row}}",
    shell:
        "python -m workflow.scripts.external contract"
        " --row {wildcards.row:q}"
        " --prompts {input.prompts:q}"
        " --settings {params.settings:q}"
        " --baseline {params.baseline:q}"
        " --clips {params.folder:q}"
        " --output {output.contract:q}"
        " > {log:q} 2>&1"


rule external:
    """Let an external baseline make one shard of its row; a stopped shard goes on where it was."""
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        contract="<suite>/external/{row}/contract.json",
        missing=lambda wc: missing_clips(wc.row, wc.shard),
        changed=changed_inputs,
    output:
        manifest="<suite>/clips/{row}/shards/{shard}.manifest.jsonl",
        timings="<suite>/clips/{row}/shards/{shard}.timings.jsonl",
    log:
        "<suite>/logs/external/{row}/{shard}.log",
    benchmark:
        "<suite>/benchmarks/external/{row}/{shard}.tsv"
    wildcard_constraints:
        row=only_rows(COMMANDS),
    threads: lambda wc: BASELINES[wc.row].threads
    resources:
        gpu=lambda wc: external_gpus(SUITE, BASELINES[wc.row]),
        runtime=lambda wc: external_minutes(BASELINES[wc.row]),
    params:
        settings=lambda wc: row_settings(wc.row),
        baseline="baselines/{row}.yaml",
        code=code_of("workflow.scripts.external"),
        folder=subpath(output.manifest, ancestor=2),
    shell:
        "python -m workflow.scripts.external shard"
        " --row {wildcards.row:q}"
        " --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q}"
        " --settings {params.settings:q}"
        " --baseline {params.baseline:q}"
        " --clips {params.folder:q}"
        " --manifest {output.manifest:q}"
        " --timings {output.timings:q}"
        " > {log:q} 2>&1"
