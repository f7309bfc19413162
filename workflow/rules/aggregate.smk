# scores of every row and dimension -> aggregate/scores.{json,csv}, aggregate/{variance,chunks}.json


rule aggregate:
    """Normalise, total and compare: intervals over prompts, paired tests; an incomplete row gets no total."""
    input:
        prompts=CHOSEN,
        results=expand(
            f"{PART}/scores/{{row}}/{{dimension}}.result.json",
            row=ROWS,
            dimension=[*DIMENSIONS, *CUSTOM_CHOSEN],
        ),
        filtered=expand(f"{PART}/filter/{{row}}.json", row=ROWS),
    output:
        scores=f"{OUT}/aggregate/scores.json",
        csv=f"{OUT}/aggregate/scores.csv",
        variance=f"{OUT}/aggregate/variance.json",
        chunks=f"{OUT}/aggregate/chunks.json",
    log:
        f"{OUT}/logs/aggregate.log",
    benchmark:
        f"{OUT}/benchmarks/aggregate.tsv"
    localrule: True
    threads: 1
    params:
        suite=SUITE.suite,
        settings=as_json(
            {
                "bounds": SUITE.benchmark,
                "dimensions": DIMENSIONS,
                "rows": row_names(),
                "custom": [CUSTOM[name].model_dump() for name in CUSTOM_CHOSEN],
                "subset": ONLY.sentence if ONLY else None,
                "totals": PART == RESULTS,
                **SUITE.aggregate.model_dump(),
            }
        ),
        code=digest("workflow.scripts.aggregate"),
    shell:
        "python -m workflow.scripts.aggregate --suite {params.suite:q} --prompts {input.prompts:q}"
        " --results {input.results:q} --filtered {input.filtered:q} --settings {params.settings:q}"
        " --output {output.scores:q} --csv {output.csv:q} --variance {output.variance:q} --chunks {output.chunks:q} > {log:q} 2>&1"
