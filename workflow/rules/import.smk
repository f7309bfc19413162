# a folder or zip of finished clips -> mp4 files (undeclared) and the shards of a row as in sample.smk
# somebody's scores -> imported/<row>.json, filter/<row>.json, scores/<row>/<dimension>.result.json
from workflow.planning.row_plan import results_settings


rule import_clips:
    """Take in the finished clips of a row, all of them or none."""
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        missing=lambda wc: [note for shard in SUITE.shards for note in missing_clips(wc.row, shard)],
        changed=changed_inputs,
    output:
        manifests=expand("<suite>/clips/{{row}}/shards/{shard}.manifest.jsonl", shard=SUITE.shards),
        timings=expand("<suite>/clips/{{row}}/shards/{shard}.timings.jsonl", shard=SUITE.shards),
    log:
        "<suite>/logs/import_clips/{row}.log",
    benchmark:
        "<suite>/benchmarks/import_clips/{row}.tsv"
    wildcard_constraints:
        row=only_rows(IMPORTED),
    params:
        settings=lambda wc: row_settings(wc.row),
        source=lambda wc: BASELINES[wc.row].clips.path,
        numbered_by=lambda wc: (
            ["--numbered-by", named] if (named := BASELINES[wc.row].clips.numbered_by) else []
        ),
        files=lambda wc: ["--files", files] if (files := BASELINES[wc.row].clips.files) else [],
        code=code_of("workflow.scripts.import_clips"),
        folder=f"{FOLDERS.suite}/clips/{{row}}",
        shards=SUITE.shards,
    shell:
        "python -m workflow.scripts.import_clips"
        " --row {wildcards.row:q}"
        " --from {params.source:q}"
        " {params.numbered_by:q}"
        " {params.files:q}"
        " --prompts {input.prompts:q}"
        " --settings {params.settings:q}"
        " --clips {params.folder:q}"
        " --shards {params.shards:q}"
        " --manifests {output.manifests:q}"
        " --timings {output.timings:q}"
        " > {log:q} 2>&1"


# A rule of its own for each row of results: rows may have different dimensions. Nothing of them is filtered,
# checked or scored here, and there are no clips.
for row_of_results in RESULTS:

    rule:
        name:
            f"import_results_{row_of_results}"
        input:
            prompts="<suite>/prompts/prompts.jsonl",
            chosen="<results>/prompts/prompts.jsonl",
            changed=changed_inputs,
        output:
            source="<results>/imported/{row}.json",
            filtered="<results>/filter/{row}.json",
            results=expand(
                "<results>/scores/{{row}}/{dimension}.result.json",
                dimension=imported_dimensions(row_of_results),
            ),
        log:
            "<results>/logs/import_results/{row}.log",
        benchmark:
            "<results>/benchmarks/import_results/{row}.tsv"
        wildcard_constraints:
            row=row_of_results,
        localrule: True
        params:
            suite=SUITE.suite,
            settings=lambda wc: as_json(
                results_settings(SUITE, BASELINES[wc.row], imported_dimensions(wc.row))
            ),
            source=lambda wc: BASELINES[wc.row].results.path,
            code=code_of("workflow.scripts.import_results"),
            folder=f"{FOLDERS.suite}/clips/{{row}}",
        shell:
            "python -m workflow.scripts.import_results"
            " --suite {params.suite:q}"
            " --row {wildcards.row:q}"
            " --from {params.source:q}"
            " --prompts {input.prompts:q}"
            " --chosen {input.chosen:q}"
            " --settings {params.settings:q}"
            " --remember {params.folder:q}"
            " --output {output.source:q}"
            " --filtered {output.filtered:q}"
            " --results {output.results:q}"
            " > {log:q} 2>&1"
