# prompts + manifest + filter + mp4 -> scores/<row>/<name>.result.json by a function of the user's, one job per row and dimension


rule score_own:
    """Score one row on a dimension of one's own; only its own file is tracked, so that editing it reruns nothing else."""
    input:
        prompts=CHOSEN,
        manifest=f"{LISTED}/manifest.jsonl",
        filtered=f"{PART}/filter/{{row}}.json",
    output:
        result=f"{PART}/scores/{{row}}/{{own}}.result.json",
    log:
        f"{PART_LOGS}/score_own/{{row}}/{{own}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/score_own/{{row}}/{{own}}.tsv"
    threads: 1
    params:
        suite=SUITE.suite,
        declaration=lambda wc: OWN[wc.own].model_dump_json(),
        file=lambda wc: SUITE.own_dimensions[wc.own].file,
        code=lambda wc: digest("workflow.scripts.score_own"),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.score_own --suite {params.suite:q} --row {wildcards.row:q} --file {params.file:q}"
        " --declaration {params.declaration:q} --prompts {input.prompts:q} --manifest {input.manifest:q}"
        " --filtered {input.filtered:q} --clips {params.folder:q} --result {output.result:q} > {log:q} 2>&1"
