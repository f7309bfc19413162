# prompts + weights -> clips/<row>/mp4/*.mp4 (undeclared), clips/<row>/shards/<shard>.{manifest,timings}.jsonl
# Clips are undeclared because Snakemake deletes the declared outputs of a killed job; the sampler resumes
# with what is there. Both lists of prompts are one in a whole run. In a subset `chosen` is a part of
# `prompts`, from which a clip has its place, and so its noise and its batch.
from workflow.planning.paths import (
    fetched_checksums,
    local_weights,
    own_record,
    row_weights,
    weights_file,
    weights_record,
)
from workflow.planning.suite import clip_control


rule sample:
    """Sample one shard of a native row: a causal network rolled out chunk by chunk."""
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        chosen="<results>/prompts/prompts.jsonl",
        weights=lambda wc: weights_record(SUITE, row_weights(SUITE, wc.row)),
        codec=lambda wc: weights_record(SUITE, SUITE.codec_of(wc.row)),
        text=weights_record(SUITE, SUITE.model.text),
        files=lambda wc: ancient(local_weights(SUITE, row_weights(SUITE, wc.row))),
        fetched="<suite>/fetch/resources.json" if SUITE.resources else [],
        missing=lambda wc: missing_clips(wc.row, wc.shard),
    output:
        manifest="<results>/clips/{row}/shards/{shard}.manifest.jsonl",
        timings="<results>/clips/{row}/shards/{shard}.timings.jsonl",
    log:
        "<results>/logs/sample/{row}/{shard}.log",
    benchmark:
        "<results>/benchmarks/sample/{row}/{shard}.tsv"
    wildcard_constraints:
        row=only_rows(NATIVE),
    # On a GPU one thread feeds it and three write clips: each is encoded by one core, in about the time that the GPU
    # takes for the next.
    threads: sampling_threads
    params:
        # These four are params so that replay.smk can give others.
        shard="{shard}",
        spread=[],
        prompts=lambda wc, input: input.prompts,
        chosen=lambda wc, input: input.chosen,
        settings=lambda wc: row_settings(wc.row),
        code=code_of("workflow.scripts.sample"),
        noise=SUITE.sample.noise,
        baseline=lambda wc: baseline_file(SUITE, wc.row),
        weights=lambda wc: weights_file(SUITE, row_weights(SUITE, wc.row)),
        codec=lambda wc: SUITE.codec_of(wc.row),
        text=SUITE.model.text,
        own=lambda wc: [f"--own={record}" for record in own_record(SUITE, row_weights(SUITE, wc.row))],
        embeddings=f"{FOLDERS.suite}/embeddings",
        checksums=["--checksums", fetched_checksums(SUITE)] if SUITE.resources else [],
        device=SUITE.device,
        folder=subpath(output.manifest, ancestor=2),
        samples=samples_of_row,
    shell:
        "{ON_GPU}python -m workflow.scripts.sample"
        " --row {wildcards.row:q}"
        " --shard {params.shard:q}"
        " {params.spread:q}"
        " --prompts {params.prompts:q}"
        " --chosen {params.chosen:q}"
        " --settings {params.settings:q}"
        " --code {params.code:q}"
        " --noise {params.noise:q}"
        " --baseline {params.baseline:q}"
        " --weights {params.weights:q}"
        " --codec {params.codec:q}"
        " --text {params.text:q}"
        " {params.own:q}"
        " --embeddings {params.embeddings:q}"
        " {params.checksums:q}"
        " --device {params.device:q}"
        " {params.samples:q}"
        " --clips {params.folder:q}"
        " --manifest {output.manifest:q}"
        " --timings {output.timings:q}"
        " > {log:q} 2>&1"


rule render:
    """Render one shard of a control row; from here on controls take the same path as sampled rows."""
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        chosen="<results>/prompts/prompts.jsonl",
        missing=lambda wc: missing_clips(wc.row, wc.shard),
    output:
        manifest="<results>/clips/{row}/shards/{shard}.manifest.jsonl",
        timings="<results>/clips/{row}/shards/{shard}.timings.jsonl",
    log:
        "<results>/logs/render/{row}/{shard}.log",
    benchmark:
        "<results>/benchmarks/render/{row}/{shard}.tsv"
    wildcard_constraints:
        row=only_rows(row for row in SUITE.controls if clip_control(row) is None),
    params:
        settings=lambda wc: row_settings(wc.row),
        code=code_of("workflow.scripts.render"),
        folder=subpath(output.manifest, ancestor=2),
    shell:
        "python -m workflow.scripts.render"
        " --row {wildcards.row:q}"
        " --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q}"
        " --chosen {input.chosen:q}"
        " --settings {params.settings:q}"
        " --code {params.code:q}"
        " --clips {params.folder:q}"
        " --manifest {output.manifest:q}"
        " --timings {output.timings:q}"
        " > {log:q} 2>&1"


rule control_clips:
    """Make one shard of a control row from the checked clips of a baseline, without a GPU."""
    input:
        prompts="<suite>/prompts/prompts.jsonl",
        chosen="<results>/prompts/prompts.jsonl",
        source=lambda wc: f"{FOLDERS.results}/clips/{clip_control(wc.row).source}/manifest.jsonl",
        missing=lambda wc: missing_clips(wc.row, wc.shard),
    output:
        manifest="<results>/clips/{row}/shards/{shard}.manifest.jsonl",
        timings="<results>/clips/{row}/shards/{shard}.timings.jsonl",
    log:
        "<results>/logs/control_clips/{row}/{shard}.log",
    benchmark:
        "<results>/benchmarks/control_clips/{row}/{shard}.tsv"
    wildcard_constraints:
        row=only_rows(row for row in SUITE.controls if clip_control(row) is not None),
    params:
        settings=lambda wc: row_settings(wc.row),
        code=code_of("workflow.scripts.control_clips"),
        folder=subpath(output.manifest, ancestor=2),
    shell:
        "python -m workflow.scripts.control_clips"
        " --row {wildcards.row:q}"
        " --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q}"
        " --chosen {input.chosen:q}"
        " --source {input.source:q}"
        " --settings {params.settings:q}"
        " --code {params.code:q}"
        " --clips {params.folder:q}"
        " --manifest {output.manifest:q}"
        " --timings {output.timings:q}"
        " > {log:q} 2>&1"
