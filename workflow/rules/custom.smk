# prompts + manifest + filter + mp4 -> scores/<row>/<name>.result.json by a function of the user's


rule score_custom:
    """Score one row on a custom dimension; an edit of its file reruns nothing else."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        filtered="<results>/filter/{row}.json",
    output:
        result="<results>/scores/{row}/{custom}.result.json",
    log:
        "<results>/logs/score_custom/{row}/{custom}.log",
    benchmark:
        "<results>/benchmarks/score_custom/{row}/{custom}.tsv"
    params:
        suite=SUITE.suite,
        declaration=lambda wc: CUSTOM[wc.custom].model_dump_json(),
        file=lambda wc: SUITE.custom_dimensions[wc.custom].file,
        code=code_of("workflow.scripts.score_custom"),
        folder=subpath(input.manifest, parent=True),
    shell:
        "python -m workflow.scripts.score_custom"
        " --suite {params.suite:q}"
        " --row {wildcards.row:q}"
        " --file {params.file:q}"
        " --declaration {params.declaration:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --filtered {input.filtered:q}"
        " --clips {params.folder:q}"
        " --result {output.result:q}"
        " > {log:q} 2>&1"
