# weights of the user's own, anywhere on this machine -> weights/own-files/<name>/record.json
from workflow.planning.paths import all_own_weights

OWN_WEIGHTS = all_own_weights(SUITE)


rule own_weights:
    """Hash weights of the user's own and check what they hold, before any job on a GPU."""
    input:
        changed=changed_weights,
    output:
        record="<suite>/weights/own-files/{own}/record.json",
    log:
        "<suite>/logs/own_weights/{own}.log",
    benchmark:
        "<suite>/benchmarks/own_weights/{own}.tsv"
    wildcard_constraints:
        own=only_rows(OWN_WEIGHTS),
    params:
        weights=lambda wc: OWN_WEIGHTS[wc.own].model_dump_json(),
        code=code_of("workflow.scripts.own_weights"),
    shell:
        "python -m workflow.scripts.own_weights"
        " --weights {params.weights:q}"
        " --output {output.record:q}"
        " > {log:q} 2>&1"
