# prompts + manifest + filter + mp4 -> scores/<row>/<name>.result.json by a function of the user's, one job per row and dimension


rule score_custom:
    """Score one row on a custom dimension; only its own file is tracked, so that editing it reruns nothing else."""
    input:
        prompts=CHOSEN,
        manifest=f"{LISTED}/manifest.jsonl",
        filtered=f"{PART}/filter/{{row}}.json",
    output:
        result=f"{PART}/scores/{{row}}/{{custom}}.result.json",
    log:
        f"{PART_LOGS}/score_custom/{{row}}/{{custom}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/score_custom/{{row}}/{{custom}}.tsv"
    threads: 1
    params:
        suite=SUITE.suite,
        declaration=lambda wc: CUSTOM[wc.custom].model_dump_json(),
        file=lambda wc: SUITE.custom_dimensions[wc.custom].file,
        code=lambda wc: digest("workflow.scripts.score_custom"),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.score_custom --suite {params.suite:q} --row {wildcards.row:q} --file {params.file:q}"
        " --declaration {params.declaration:q} --prompts {input.prompts:q} --manifest {input.manifest:q}"
        " --filtered {input.filtered:q} --clips {params.folder:q} --result {output.result:q} > {log:q} 2>&1"
