# a folder or zip of finished clips -> mp4 files (undeclared) and the shards of a row as in sample.smk


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
