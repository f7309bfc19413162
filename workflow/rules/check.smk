# shard manifests + mp4 -> clips/<row>/{manifest,timings}.jsonl, written only when every clip is proven


rule check:
    """Prove every clip of a row (decodable, size, length, not constant, no duplicates, none missing) and merge shards."""
    input:
        prompts=PROMPTS,
        manifests=expand(
            f"{SHARD}.manifest.jsonl", shard=SUITE.shards, allow_missing=True
        ),
        timings=expand(f"{SHARD}.timings.jsonl", shard=SUITE.shards, allow_missing=True),
    output:
        manifest=f"{CLIPS}/manifest.jsonl",
        timings=f"{CLIPS}/timings.jsonl",
    log:
        f"{LOGS}/check/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/check/{{row}}.tsv"
    threads: 1
    params:
        clip=lambda wc: as_json(row_clip(SUITE, BASELINES.get(wc.row))),
        code=digest("workflow.scripts.check"),
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.check --row {wildcards.row:q} --prompts {input.prompts:q}"
        " --manifests {input.manifests:q} --timings {input.timings:q} --clip {params.clip:q} --clips {params.folder:q}"
        " --output {output.manifest:q} --output-timings {output.timings:q} > {log:q} 2>&1"


rule clips:
    """Every row's clips, proven, without filter, scores and report."""
    input:
        expand(f"{CLIPS}/manifest.jsonl", row=SUITE.rows),
    localrule: True
