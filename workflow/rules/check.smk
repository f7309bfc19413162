# shard manifests + mp4 -> clips/<row>/{manifest,timings}.jsonl, written only when every clip is proven


rule check:
    """Prove every clip of a row (decodable, size, length, not constant, no duplicates, none missing) and merge shards."""
    input:
        prompts=CHOSEN,
        manifests=shard_files("manifest"),
        timings=shard_files("timings"),
    output:
        manifest=f"{LISTED}/manifest.jsonl",
        timings=f"{LISTED}/timings.jsonl",
    log:
        f"{PART_LOGS}/check/{{row}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/check/{{row}}.tsv"
    threads: 1
    params:
        clip=lambda wc: as_json(row_clip(SUITE, BASELINES.get(wc.row))),
        code=digest("workflow.scripts.check"),
        pick="--pick" if PART != RESULTS else "",
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.check --row {wildcards.row:q} --prompts {input.prompts:q}"
        " --manifests {input.manifests:q} --timings {input.timings:q} --clip {params.clip:q} --clips {params.folder:q}"
        " {params.pick} --output {output.manifest:q} --output-timings {output.timings:q} > {log:q} 2>&1"


rule clips:
    """Every row's clips, proven, without filter, scores and report."""
    input:
        expand(f"{LISTED}/manifest.jsonl", row=ROWS),
    localrule: True
