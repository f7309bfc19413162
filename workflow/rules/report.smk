# scores + manifests + timings + benchmarks -> <suite>/report.html (undeclared), copied to reports/table.html
# The copy is the only output: were the suite's own file one too, a table of another suite would count as up to date.


rule report:
    """Build the self-contained report of this suite; reports/table.html is the last one built and names its suite."""
    input:
        scores=f"{RESULTS}/aggregate/scores.json",
        variance=f"{RESULTS}/aggregate/variance.json",
        chunks=f"{RESULTS}/aggregate/chunks.json",
        prompts=PROMPTS,
        manifests=expand(f"{CLIPS}/manifest.jsonl", row=SUITE.rows),
        timings=expand(f"{CLIPS}/timings.jsonl", row=SUITE.rows),
        filtered=expand(f"{RESULTS}/filter/{{row}}.json", row=SUITE.rows),
        trained=expand(f"{RESULTS}/train/{{row}}/train.json", row=SUITE.train),
    output:
        table="reports/table.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{BENCHMARKS}/report.tsv"
    localrule: True
    threads: 8
    params:
        settings=lambda wc: as_json(report_settings()),
        folder=lambda wc: RESULTS,
        report=f"{RESULTS}/report.html",
        code=lambda wc: digest(
            "workflow.scripts.report",
            "reports/templates/*",
            "reports/published.yaml",
            "reports/references.bib",
        ),
    shell:
        "python -m workflow.scripts.report --scores {input.scores:q} --settings {params.settings:q}"
        " --results-dir {params.folder:q} --output {params.report:q} --copy {output.table:q}"
        " --threads {threads} > {log:q} 2>&1"
