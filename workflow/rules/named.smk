# prompts + manifest + filter + mp4 -> vbench_named/<row>/<short prompt>-<k>.mp4, links for other tools
# `snakemake vbench_named` asks for every row, `snakemake vbench_named_of_<row>` for one.


rule name_clips:
    """Link a row's clips under VBench's own names; of still prompts those that the static filter kept."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        filtered="<results>/filter/{row}.json",
    output:
        folder=directory("<results>/vbench_named/{row}"),
    log:
        "<results>/logs/vbench_named/{row}.log",
    benchmark:
        "<results>/benchmarks/vbench_named/{row}.tsv"
    localrule: True
    params:
        results=subpath(input.manifest, ancestor=3),
        code=code_of("workflow.scripts.vbench_named"),
    shell:
        "python -m workflow.scripts.vbench_named"
        " --row {wildcards.row:q}"
        " --results {params.results:q}"
        " --output {output.folder:q}"
        " > {log:q} 2>&1"


for target, named_rows in {
    "vbench_named": WITH_CLIPS,
    **{f"vbench_named_of_{row}": [row] for row in WITH_CLIPS},
}.items():

    rule:
        name:
            target
        input:
            expand("<results>/vbench_named/{row}", row=named_rows),
        localrule: True
