# finished clips of native rows -> <suite>/replay.json (undeclared): five clips of each rendered again and compared
# Nothing is an input here: a replay tests what is there and must not make it again. `snakemake replay` asks for every
# native row, `snakemake replay_of_<row>` for one; both say whether clips come out bit-equal, the same on this type of device, or not.


rule replay_row:
    """Render five clips of a row again, by the code that samples, and compare them with its manifest and files."""
    output:
        row=f"{RESULTS}/replay/{{row}}.json",
    log:
        f"{LOGS}/replay/{{row}}.log",
    wildcard_constraints:
        row=never_matching(NATIVE),
    threads: 1
    params:
        prompts=PROMPTS,
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
        folder=lambda wc: CLIPS.format(row=wc.row),
        scratch=lambda wc: f"{RESULTS}/replay/{wc.row}",
    shell:
        "python -m workflow.scripts.replay row --row {wildcards.row:q} --prompts {params.prompts:q}"
        " --settings {params.settings:q} --code {params.code:q} --noise {params.noise:q} --baseline {params.baseline:q}"
        " --weights {params.weights:q} --codec {params.codec:q} --text {params.text:q} --embeddings {params.embeddings:q}"
        " {params.proof} --device {params.device:q} --clips {params.folder:q} --scratch {params.scratch:q}"
        " --output {output.row:q} > {log:q} 2>&1"


REPLAYS = {"replay": NATIVE} | {f"replay_of_{row}": [row] for row in NATIVE}


for target, replayed_rows in REPLAYS.items():

    rule:
        name:
            target
        input:
            rows=expand(f"{RESULTS}/replay/{{row}}.json", row=replayed_rows),
        log:
            f"{LOGS}/{target}.log",
        localrule: True
        threads: 1
        params:
            suite=SUITE.suite,
            output=f"{RESULTS}/replay.json",
        shell:
            "python -m workflow.scripts.replay join --suite {params.suite:q} --rows {input.rows:q} --output {params.output:q}"
            " 2>&1 | tee {log:q}"
