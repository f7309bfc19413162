# prompts + manifest + filter + mp4 -> scores/<row>/<dimension>{,.result}.json, one job per row and dimension


rule score:
    """Score one row on one dimension from its decoded clips."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        filtered="<results>/filter/{row}.json",
    output:
        official="<results>/scores/{row}/{dimension}.json",
        result="<results>/scores/{row}/{dimension}.result.json",
    log:
        "<results>/logs/score/{row}/{dimension}.log",
    benchmark:
        "<results>/benchmarks/score/{row}/{dimension}.tsv"
    params:
        suite=SUITE.suite,
        code=code_of("evaluation.toybox.score", lambda wc: [f"evaluation.toybox.scorers.{wc.dimension}"]),
        folder=subpath(input.manifest, parent=True),
        second=[],
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
        " {params.second:q}"
        " > {log:q} 2>&1"
