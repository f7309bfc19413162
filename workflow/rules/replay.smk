# finished clips of native rows -> replay.json (undeclared): five clips of each sampled again and compared
# The clips that are there are no input: a replay tests them and must not make them again. `snakemake replay`
# asks for every native row, `snakemake replay_of_<row>` for one; both say whether clips come out bit-equal,
# the same on this type of device, or not.
from workflow.planning.missing_clips import refuse_replay, require_clips


use rule sample as replay_row with:
    input:
        [],
    output:
        manifest="<suite>/replay/{row}/manifest.jsonl",
        timings="<suite>/replay/{row}/timings.jsonl",
    log:
        "<suite>/logs/replay/{row}.log",
    benchmark:
        "<suite>/replay/{row}/benchmark.tsv"
    params:
        shard="0-of-1",
        spread=["--spread", "5"],
        prompts=f"{FOLDERS.suite}/prompts/prompts.jsonl",
        chosen=f"{FOLDERS.suite}/prompts/prompts.jsonl",
        folder=subpath(output.manifest, parent=True),


for target, replayed_rows in {"replay": NATIVE, **{f"replay_of_{row}": [row] for row in NATIVE}}.items():

    rule:
        name:
            target
        input:
            lambda wc, rows=replayed_rows: expand(
                "<suite>/replay/{row}/manifest.jsonl", row=require_clips(FOLDERS, rows)
            ),
        log:
            f"<suite>/logs/{target}.log",
        localrule: True
        params:
            suite=SUITE.suite,
            results=FOLDERS.suite,
            rows=replayed_rows,
        shell:
            "python -m workflow.scripts.replay"
            " --suite {params.suite:q}"
            " --results {params.results:q}"
            " --rows {params.rows:q}"
            " > {log:q} 2>&1"


rule replay_of_another:
    """Say which rows can be replayed, where another one is asked for."""
    input:
        lambda wc: refuse_replay(wc.other, NATIVE, SUITE.suite),
    output:
        "replay_of_{other}",
    localrule: True
