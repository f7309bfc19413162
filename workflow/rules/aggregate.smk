# scores of every row and dimension -> aggregate/scores.{json,csv}, aggregate/{variance,chunks}.json


rule aggregate:
    """Normalise, total and compare: intervals over prompts, paired tests; an incomplete row gets no total."""
    input:
        prompts=PROMPTS,
        results=expand(
            f"{RESULTS}/scores/{{row}}/{{dimension}}.result.json",
            row=SUITE.rows,
            dimension=[*SUITE.dimensions, *OWN],
        ),
        filtered=expand(f"{RESULTS}/filter/{{row}}.json", row=SUITE.rows),
    output:
        scores=f"{RESULTS}/aggregate/scores.json",
        csv=f"{RESULTS}/aggregate/scores.csv",
        variance=f"{RESULTS}/aggregate/variance.json",
        chunks=f"{RESULTS}/aggregate/chunks.json",
    log:
        f"{LOGS}/aggregate.log",
    benchmark:
        f"{BENCHMARKS}/aggregate.tsv"
    localrule: True
    threads: 1
    params:
        suite=SUITE.suite,
        settings=as_json(
            {
                "bounds": SUITE.world,
                "dimensions": SUITE.dimensions,
                "rows": row_names(),
                **({"own": [own.model_dump() for own in OWN.values()]} if OWN else {}),
                **SUITE.aggregate.model_dump(),
            }
        ),
        code=digest("workflow.scripts.aggregate"),
    shell:
        "python -m workflow.scripts.aggregate --suite {params.suite:q} --prompts {input.prompts:q}"
        " --results {input.results:q} --filtered {input.filtered:q} --settings {params.settings:q}"
        " --output {output.scores:q} --csv {output.csv:q} --variance {output.variance:q} --chunks {output.chunks:q} > {log:q} 2>&1"
