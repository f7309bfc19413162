# (fetched prompt files) -> prompts/prompts.jsonl


rule prompts:
    """Write the suite's prompt records: text, dimensions, sample counts, ground truth."""
    input:
        fetched=fetched(),
    output:
        prompts=PROMPTS,
    log:
        f"{LOGS}/prompts.log",
    benchmark:
        f"{BENCHMARKS}/prompts.tsv"
    localrule: True
    threads: 1
    params:
        settings=as_json(
            {
                "world": SUITE.world,
                "dimensions": list(SUITE.dimensions),
                **SUITE.prompts.model_dump(),
            }
        ),
        code=digest("workflow.scripts.prompts"),
    shell:
        "python -m workflow.scripts.prompts --settings {params.settings:q}"
        " --output {output.prompts:q} > {log:q} 2>&1"
