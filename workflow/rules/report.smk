# scores + manifests + timings + benchmarks -> <run>/report.html (undeclared), copied to reports/table.html
# The copy is the only output: were the run's own file one too, another suite's would count as up to date.
from workflow.planning.paths import converted_files
from workflow.planning.report_plan import report_settings
from workflow.planning.row_plan import heldout_rows


rule report:
    """Build the self-contained report; reports/table.html is the last one built and names its suite."""
    input:
        scores="<run>/aggregate/scores.json",
        variance="<run>/aggregate/variance.json",
        chunks="<run>/aggregate/chunks.json",
        protocol_moves="<run>/aggregate/protocol_moves.json",
        long=["<run>/aggregate/long.json"] if SUITE.clip.long_fps else [],
        prompts="<results>/prompts/prompts.jsonl",
        manifests=expand("<results>/clips/{row}/manifest.jsonl", row=WITH_CLIPS),
        timings=expand("<results>/clips/{row}/timings.jsonl", row=WITH_CLIPS),
        imported=expand("<results>/imported/{row}.json", row=[row for row in RESULTS if row in CHOSEN.rows]),
        filtered=expand("<results>/filter/{row}.json", row=CHOSEN.rows),
        trained=expand(
            "<suite>/train/{row}/train.json", row=[row for row in SUITE.train if row in CHOSEN.rows]
        ),
        heldout=expand(
            "<suite>/train/{row}/heldout.json",
            row=[row for row in heldout_rows(SUITE) if row in CHOSEN.rows],
        ),
        weights=ancient(converted_files(SUITE, [row for row in SUITE.train if row in CHOSEN.rows])),
        votes=sorted(str(path) for path in Path(FOLDERS.run, "votes").glob("*.json")),
        gone=gone_note(f"{FOLDERS.run}/report"),
    output:
        table="reports/table.html",
    log:
        "<run>/logs/report.log",
    benchmark:
        "<run>/benchmarks/report.tsv"
    localrule: True
    threads: 8
    params:
        settings=lambda wc: as_json(
            report_settings(SUITE, CHOSEN, BASELINES, ROOT) | {"accepted": CODE.shown()}
        ),
        folder=subpath(input.scores, ancestor=2),
        code=CODE.digest(
            "workflow.scripts.report",
            "reports/templates/*",
            "reports/published.yaml",
            "reports/references.bib",
        ),
    shell:
        "python -m workflow.scripts.report"
        " --scores {input.scores:q}"
        " --settings {params.settings:q}"
        " --results-dir {params.folder:q}"
        " --output {params.folder:q}/report.html"
        " --copy {output.table:q}"
        " --threads {threads}"
        " --votes {input.votes:q}"
        " > {log:q} 2>&1"
