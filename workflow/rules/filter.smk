# manifest.jsonl + mp4 -> filter/<row>.json: which samples of each prompt are scored


rule filter:
    """Keep the first static samples of every still prompt; all motion values are recorded."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
    output:
        filtered="<results>/filter/{row}.json",
    log:
        "<results>/logs/filter/{row}.log",
    benchmark:
        "<results>/benchmarks/filter/{row}.tsv"
    params:
        code=code_of("workflow.scripts.filter"),
        samples=samples_of_row,
        folder=subpath(input.manifest, parent=True),
    shell:
        "python -m workflow.scripts.filter"
        " --row {wildcards.row:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --clips {params.folder:q}"
        " {params.samples:q}"
        " --output {output.filtered:q}"
        " > {log:q} 2>&1"
