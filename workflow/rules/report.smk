# scores + manifests + timings + benchmarks -> <suite>/report.html (undeclared), copied to reports/table.html
# The copy is the only output: were the suite's own file one too, a table of another suite would count as up to date.


rule report:
    """Build the self-contained report of this suite; reports/table.html is the last one built and names its suite."""
    input:
        scores=f"{OUT}/aggregate/scores.json",
        variance=f"{OUT}/aggregate/variance.json",
        chunks=f"{OUT}/aggregate/chunks.json",
        prompts=CHOSEN,
        manifests=expand(f"{LISTED}/manifest.jsonl", row=ROWS),
        timings=expand(f"{LISTED}/timings.jsonl", row=ROWS),
        filtered=expand(f"{PART}/filter/{{row}}.json", row=ROWS),
        trained=expand(
            f"{RESULTS}/train/{{row}}/train.json",
            row=[row for row in SUITE.train if row in ROWS],
        ),
    output:
        table="reports/table.html",
    log:
        f"{OUT}/logs/report.log",
    benchmark:
        f"{OUT}/benchmarks/report.tsv"
    localrule: True
    threads: 8
    params:
        settings=lambda wc: as_json(report_settings()),
        folder=lambda wc: OUT,
        report=f"{OUT}/report.html",
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
