# manifest.jsonl + mp4 -> filter/<row>.json: which samples of each prompt are scored


rule filter:
    """Keep the first static samples of every still prompt; all motion values are recorded."""
    input:
        prompts=PROMPTS,
        manifest=f"{CLIPS}/manifest.jsonl",
    output:
        filtered=f"{RESULTS}/filter/{{row}}.json",
    log:
        f"{LOGS}/filter/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/filter/{{row}}.tsv"
    threads: 1
    params:
        code=digest("workflow.scripts.filter"),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.filter --row {wildcards.row:q} --prompts {input.prompts:q}"
        " --manifest {input.manifest:q} --clips {params.folder:q} --output {output.filtered:q} > {log:q} 2>&1"
