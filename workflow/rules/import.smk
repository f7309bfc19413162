# a folder or zip of finished clips -> clips/<row>/mp4/*.mp4 (undeclared) + clips/<row>/shards/<i>-of-<n>.{manifest,timings}.jsonl


rule import_clips:
    """Take in the finished clips of a row, all of them or none; from here on it takes the same path as sampled rows."""
    input:
        prompts=PROMPTS,
        lost=lambda wc: [note for shard in SUITE.shards for note in lost({"row": wc.row, "shard": shard})],
        changed=outside_changed,
    output:
        manifests=expand(f"{SHARD}.manifest.jsonl", shard=SUITE.shards, allow_missing=True),
        timings=expand(f"{SHARD}.timings.jsonl", shard=SUITE.shards, allow_missing=True),
    log:
        f"{LOGS}/import_clips/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/import_clips/{{row}}.tsv"
    wildcard_constraints:
        row=never_matching(IMPORTED),
    threads: 1
    params:
        settings=lambda wc: row_settings(wc.row),
        source=lambda wc: BASELINES[wc.row].clips.path,
        code=lambda wc: digest("workflow.scripts.import_clips"),
        folder=lambda wc: CLIPS.format(row=wc.row),
        shards=SUITE.shards,
    shell:
        "python -m workflow.scripts.import_clips --row {wildcards.row:q} --from {params.source:q}"
        " --prompts {input.prompts:q} --settings {params.settings:q} --clips {params.folder:q} --shards {params.shards:q}"
        " --manifests {output.manifests:q} --timings {output.timings:q} > {log:q} 2>&1"
