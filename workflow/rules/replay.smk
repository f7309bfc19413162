# finished clips of native rows -> replay.json (undeclared): five clips of each rendered again and compared
# Nothing is an input here: a replay tests what is there and must not make it again. `snakemake replay` asks
# for every native row, `snakemake replay_of_<row>` for one; both say whether clips come out bit-equal, the
# same on this type of device, or not.


rule replay_row:
    """Render five clips of a row again, by the code that samples, and compare them with what is there."""
    output:
        row="<suite>/replay/{row}.json",
    log:
        "<suite>/logs/replay/{row}.log",
    wildcard_constraints:
        row=only_rows(NATIVE),
    threads: 1
    params:
        **NATIVE_ROW,
        prompts=f"{FOLDERS.suite}/prompts/prompts.jsonl",
        folder=f"{FOLDERS.suite}/clips/{{row}}",
        scratch=subpath(output.row, strip_suffix=".json"),
    shell:
        "python -m workflow.scripts.replay row" + NATIVE_ROW_FLAGS + " --prompts {params.prompts:q}"
        " --clips {params.folder:q}"
        " --scratch {params.scratch:q}"
        " --output {output.row:q}"
        " > {log:q} 2>&1"


for target, replayed_rows in {"replay": NATIVE, **{f"replay_of_{row}": [row] for row in NATIVE}}.items():

    rule:
        name:
            target
        input:
            rows=expand("<suite>/replay/{row}.json", row=replayed_rows),
        log:
            f"<suite>/logs/{target}.log",
        localrule: True
        threads: 1
        params:
            suite=SUITE.suite,
            output=f"{FOLDERS.suite}/replay.json",
        shell:
            "python -m workflow.scripts.replay join"
            " --suite {params.suite:q}"
            " --rows {input.rows:q}"
            " --output {params.output:q}"
            " 2>&1 | tee {log:q}"
