# prompts + weights -> clips/<row>/mp4/*.mp4 (undeclared) + clips/<row>/shards/<i>-of-<n>.{manifest,timings}.jsonl
# Clips are undeclared because Snakemake deletes the declared outputs of a killed job; the sampler resumes with what is there.


rule sample:
    """Sample one shard of a native row: a causal network rolled out chunk by chunk."""
    input:
        prompts=PROMPTS,
        weights=lambda wc: description(row_weights(wc.row)),
        codec=description(SUITE.model.codec),
        text=description(SUITE.model.text),
        files=lambda wc: declared(row_weights(wc.row)),
        proof=fetched(),
        lost=lost,
        chosen=chosen_list(),
    output:
        manifest=f"{MADE}.manifest.jsonl",
        timings=f"{MADE}.timings.jsonl",
    log:
        f"{PART_LOGS}/sample/{{row}}/{{shard}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/sample/{{row}}/{{shard}}.tsv"
    wildcard_constraints:
        row=never_matching(NATIVE),
    threads: 1
    params:
        settings=lambda wc: row_settings(wc.row),
        weights=lambda wc: weights_file(row_weights(wc.row)),
        baseline=lambda wc: f"baselines/{wc.row}.yaml",
        codec=SUITE.model.codec,
        text=SUITE.model.text,
        noise=SUITE.sample.noise,
        proof=f"--proof {FETCHED}" if SUITE.resources else "",
        embeddings=f"{RESULTS}/embeddings",
        device=SUITE.device,
        code=lambda wc: digest("workflow.scripts.sample"),
        chosen=f"--chosen {CHOSEN}" if PART != RESULTS else "",
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.sample --row {wildcards.row:q} --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q} --settings {params.settings:q} --code {params.code:q} --noise {params.noise:q}"
        " --baseline {params.baseline:q} --weights {params.weights:q} --codec {params.codec:q} --text {params.text:q} --embeddings {params.embeddings:q}"
        " {params.proof} --device {params.device:q}"
        " {params.chosen} --clips {params.folder:q} --manifest {output.manifest:q} --timings {output.timings:q} > {log:q} 2>&1"


rule render:
    """Render one shard of a control row; from here on controls take the same path as sampled rows."""
    input:
        prompts=PROMPTS,
        lost=lost,
        chosen=chosen_list(),
    output:
        manifest=f"{MADE}.manifest.jsonl",
        timings=f"{MADE}.timings.jsonl",
    log:
        f"{PART_LOGS}/render/{{row}}/{{shard}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/render/{{row}}/{{shard}}.tsv"
    wildcard_constraints:
        row=never_matching(SUITE.controls),
    threads: 1
    params:
        settings=lambda wc: row_settings(wc.row),
        code=lambda wc: digest("workflow.scripts.render"),
        chosen=f"--chosen {CHOSEN}" if PART != RESULTS else "",
        folder=lambda wc: CLIPS.format(row=wc.row),
    shell:
        "python -m workflow.scripts.render --row {wildcards.row:q} --shard {wildcards.shard:q}"
        " --prompts {input.prompts:q} --settings {params.settings:q} --code {params.code:q}"
        " {params.chosen} --clips {params.folder:q} --manifest {output.manifest:q} --timings {output.timings:q} > {log:q} 2>&1"
