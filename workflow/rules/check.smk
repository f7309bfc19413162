# shard manifests + mp4 -> clips/<row>/{manifest,timings}.jsonl, written only when every clip is whole
# A checkpoint, so that Snakemake looks again at what follows: a manifest of the same bytes reruns nothing.
from workflow.planning.row_plan import clip_of_row


checkpoint check:
    """Check every clip of a row (it decodes, is in shape, holds a picture, is there once); merge its shards."""
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        chosen="<results>/prompts/prompts.jsonl",
        manifests=lambda wc: expand(f"{shards_folder(wc.row)}/{{shard}}.manifest.jsonl", shard=SUITE.shards),
        timings=lambda wc: expand(f"{shards_folder(wc.row)}/{{shard}}.timings.jsonl", shard=SUITE.shards),
        gone=lambda wc: gone_note(f"{FOLDERS.results}/clips/{wc.row}/check"),
    output:
        manifest="<results>/clips/{row}/manifest.jsonl",
        timings="<results>/clips/{row}/timings.jsonl",
    log:
        "<results>/logs/check/{row}.log",
    benchmark:
        "<results>/benchmarks/check/{row}.tsv"
    params:
        clip=lambda wc: as_json(clip_of_row(SUITE, BASELINES, wc.row)),
        degenerate=lambda wc: ["--allow-degenerate"] if SUITE.allows_degenerate(wc.row) else [],
        code=code_of("workflow.scripts.check"),
        samples=samples_of_row,
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m workflow.scripts.check"
        " --row {wildcards.row:q}"
        " --prompts {input.prompts:q}"
        " --chosen {input.chosen:q}"
        " --manifests {input.manifests:q}"
        " --timings {input.timings:q}"
        " --clip {params.clip:q}"
        " --clips {params.folder:q}"
        " {params.samples:q}"
        " {params.degenerate:q}"
        " --output {output.manifest:q}"
        " --output-timings {output.timings:q}"
        " > {log:q} 2>&1"


rule clips:
    """Every row's clips, checked, without filter, scores and report."""
    input:
        expand("<results>/clips/{row}/manifest.jsonl", row=WITH_CLIPS),
    localrule: True
