# manifest + mp4 -> long/<row>.json -> aggregate/long.json: what pixels say (suites of long clips alone)
from workflow.planning.suite import OFFICIAL_BENCHMARKS


rule measure_long:
    """Read every long clip of a row once, frame by frame."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
    output:
        measured="<results>/long/{row}.json",
    log:
        "<results>/logs/measure_long/{row}.log",
    benchmark:
        "<results>/benchmarks/measure_long/{row}.tsv"
    params:
        suite=SUITE.suite,
        code=code_of("workflow.scripts.measure_long"),
        folder=subpath(input.manifest, parent=True),
    shell:
        "python -m workflow.scripts.measure_long"
        " --suite {params.suite:q}"
        " --row {wildcards.row:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --clips {params.folder:q}"
        " --output {output.measured:q}"
        " > {log:q} 2>&1"


rule long_table:
    """Means, intervals and paired tests of what was measured."""
    input:
        scores="<run>/aggregate/scores.json",
        prompts="<results>/prompts/prompts.jsonl",
        manifests=expand("<results>/clips/{row}/manifest.jsonl", row=WITH_CLIPS),
        measured=expand("<results>/long/{row}.json", row=WITH_CLIPS),
        results=(
            expand(
                "<results>/scores/{row}/{dimension}.result.json",
                row=WITH_CLIPS,
                dimension=CHOSEN.dimensions,
            )
            if SUITE.benchmark in OFFICIAL_BENCHMARKS
            else []
        ),
    output:
        table="<run>/aggregate/long.json",
    log:
        "<run>/logs/long_table.log",
    benchmark:
        "<run>/benchmarks/long_table.tsv"
    localrule: True
    params:
        settings=as_json(aggregate_settings(CHOSEN, BASELINES, CUSTOM_CHOSEN, SUBSET)),
        code=code_of("workflow.scripts.long_table"),
    shell:
        "python -m workflow.scripts.long_table"
        " --scores {input.scores:q}"
        " --prompts {input.prompts:q}"
        " --manifests {input.manifests:q}"
        " --measured {input.measured:q}"
        " --results {input.results:q}"
        " --settings {params.settings:q}"
        " --output {output.table:q}"
        " > {log:q} 2>&1"
