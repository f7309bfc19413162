# finished clips of native rows -> replay.json (undeclared): five clips of each sampled again and compared
# The clips that are there are no input: a replay tests them and must not make them again. `snakemake replay`
# asks for every native row, `snakemake replay_of_<row>` for one; both say whether clips come out bit-equal,
# the same on this type of device, or not.


rule replay_row:
    """Sample five clips of a row again, spread over all of them, into a folder of their own."""
    output:
        manifest="<suite>/replay/{row}/manifest.jsonl",
        timings="<suite>/replay/{row}/timings.jsonl",
    log:
        "<suite>/logs/replay/{row}.log",
    wildcard_constraints:
        row=only_rows(NATIVE),
    threads: 1
    params:
        **NATIVE_ROW,
        prompts=f"{FOLDERS.suite}/prompts/prompts.jsonl",
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m workflow.scripts.sample" + NATIVE_ROW_FLAGS + " --shard 0-of-1"
        " --spread 5"
        " --prompts {params.prompts:q}"
        " --chosen {params.prompts:q}"
        " --clips {params.folder:q}"
        " --manifest {output.manifest:q}"
        " --timings {output.timings:q}"
        " > {log:q} 2>&1"


def sampled_again(rows):
    """Input function: new clips of rows, each of which must have finished clips to be compared with."""

    def manifests(wildcards):
        for row in rows:
            if not Path(f"{FOLDERS.suite}/clips/{row}/manifest.jsonl").is_file():
                raise WorkflowError(f"Row {row} has no finished clips; run the suite first, then replay it.")
        return expand("<suite>/replay/{row}/manifest.jsonl", row=rows)

    return manifests


for target, replayed_rows in {"replay": NATIVE, **{f"replay_of_{row}": [row] for row in NATIVE}}.items():

    rule:
        name:
            target
        input:
            sampled_again(replayed_rows),
        log:
            f"<suite>/logs/{target}.log",
        localrule: True
        threads: 1
        params:
            suite=SUITE.suite,
            results=FOLDERS.suite,
            rows=replayed_rows,
        shell:
            "python -m workflow.scripts.replay"
            " --suite {params.suite:q}"
            " --results {params.results:q}"
            " --rows {params.rows:q}"
            " 2>&1 | tee {log:q}"
