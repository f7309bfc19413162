# prompts + manifest + filter + mp4 -> scores/<row>/<dimension>{,.result}.json, one job per row and dimension


rule score:
    """Score one row on one dimension from its decoded clips."""
    input:
        prompts=CHOSEN,
        manifest=f"{LISTED}/manifest.jsonl",
        filtered=f"{PART}/filter/{{row}}.json",
    output:
        official=f"{PART}/scores/{{row}}/{{dimension}}.json",
        result=f"{PART}/scores/{{row}}/{{dimension}}.result.json",
    log:
        f"{PART_LOGS}/score/{{row}}/{{dimension}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/score/{{row}}/{{dimension}}.tsv"
    threads: 1
    params:
        suite=SUITE.suite,
        code=lambda wc: digest("evaluation.toybox.score") + scorer_digest(wc.dimension),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m evaluation.toybox.score"
        " --suite {params.suite:q}"
        " --row {wildcards.row:q}"
        " --dimension {wildcards.dimension:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --filtered {input.filtered:q}"
        " --clips {params.folder:q}"
        " --output {output.official:q}"
        " --result {output.result:q}"
        " > {log:q} 2>&1"
