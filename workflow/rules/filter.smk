# manifest.jsonl + mp4 -> filter/<row>.json: which samples of each prompt are scored


rule filter:
    """Keep the first static samples of every still prompt; all motion values are recorded."""
    input:
        prompts=CHOSEN,
        manifest=f"{LISTED}/manifest.jsonl",
    output:
        filtered=f"{PART}/filter/{{row}}.json",
    log:
        f"{PART_LOGS}/filter/{{row}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/filter/{{row}}.tsv"
    threads: 1
    params:
        code=digest("workflow.scripts.filter"),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.filter --row {wildcards.row:q} --prompts {input.prompts:q}"
        " --manifest {input.manifest:q} --clips {params.folder:q} --output {output.filtered:q} > {log:q} 2>&1"
