# (fetched prompt files, or a list of one's own) -> prompts/prompts.jsonl


rule prompts:
    """Write the suite's prompt records: text, dimensions, sample counts, ground truth."""
    input:
        fetched=fetched(),
        own=kept_list() if has_own_list(SUITE) else [],
    output:
        prompts=PROMPTS,
    log:
        f"{LOGS}/prompts.log",
    benchmark:
        f"{BENCHMARKS}/prompts.tsv"
    localrule: True
    threads: 1
    params:
        settings=as_json(prompt_stage_settings(ROOT, SUITE)),
        own=["--list", kept_list()] if SUITE.prompts.list else [],
        code=digest("workflow.scripts.prompts"),
    shell:
        "python -m workflow.scripts.prompts --settings {params.settings:q} {params.own:q}"
        " --output {output.prompts:q} > {log:q} 2>&1"


if PART != RESULTS:

    rule choose_prompts:
        """Keep the prompts and samples that a subset run is about."""
        input:
            prompts=PROMPTS,
        output:
            chosen=CHOSEN,
        log:
            f"{PART_LOGS}/choose_prompts.log",
        benchmark:
            f"{PART_BENCHMARKS}/choose_prompts.tsv"
        localrule: True
        threads: 1
        params:
            chosen=as_json({"prompts": ONLY.prompts, "samples": ONLY.samples}),
            code=digest("workflow.scripts.choose_prompts"),
        shell:
            "python -m workflow.scripts.choose_prompts --prompts {input.prompts:q} --chosen {params.chosen:q}"
            " --output {output.chosen:q} > {log:q} 2>&1"
