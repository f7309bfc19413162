# prompts + manifest + filter + mp4 -> scores/<row>/<name>.result.json by a function of the user's
# A network's files are verified apart from all others: a new one must not sample anything again.
from workflow.planning.custom_dimensions import dimension_modules, needs_gpu
from workflow.planning.resources import custom_resources

WITH_FILES = [name for name in SUITE.custom_dimensions if custom_resources(ROOT, SUITE, [name])]


rule custom_resources:
    """Verify the fetched files of a custom dimension. Uses no network."""
    output:
        checksums="<suite>/custom/{custom}.resources.json",
    log:
        "<suite>/logs/custom_resources/{custom}.log",
    benchmark:
        "<suite>/benchmarks/custom_resources/{custom}.tsv"
    localrule: True
    params:
        config=CONFIG,
        replaced=as_json(REPLACED),
        needed=lambda wc: as_json(
            [entry.model_dump() for entry in custom_resources(ROOT, SUITE, [wc.custom])]
        ),
    shell:
        "python -m workflow.scripts.fetch"
        " --verify"
        " --config {params.config:q}"
        " --replace {params.replaced:q}"
        " --dimension {wildcards.custom:q}"
        " --output {output.checksums:q}"
        " > {log:q} 2>&1"


rule score_custom:
    """Score one row on a custom dimension; an edit of its file reruns nothing else."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        filtered="<results>/filter/{row}.json",
        checksums=lambda wc: [f"<suite>/custom/{wc.custom}.resources.json"] if wc.custom in WITH_FILES else [],
    output:
        result="<results>/scores/{row}/{custom}.result.json",
    log:
        "<results>/logs/score_custom/{row}/{custom}.log",
    benchmark:
        "<results>/benchmarks/score_custom/{row}/{custom}.tsv"
    resources:
        gpu=lambda wc: int(needs_gpu(SUITE, ROOT, wc.custom)),
    params:
        suite=SUITE.suite,
        declaration=lambda wc: CUSTOM[wc.custom].model_dump_json(),
        file=lambda wc: SUITE.custom_dimensions[wc.custom].file,
        code=code_of("workflow.scripts.score_custom", lambda wc: dimension_modules(SUITE, ROOT, wc.custom)),
        checksums=lambda wc: (
            ["--checksums", f"{FOLDERS.suite}/custom/{wc.custom}.resources.json"]
            if wc.custom in WITH_FILES
            else []
        ),
        device=SUITE.device,
        folder=subpath(input.manifest, parent=True),
    shell:
        "{ON_GPU}python -m workflow.scripts.score_custom"
        " --suite {params.suite:q}"
        " --row {wildcards.row:q}"
        " --file {params.file:q}"
        " --declaration {params.declaration:q}"
        " --code {params.code:q}"
        " {params.checksums:q}"
        " --device {params.device:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --filtered {input.filtered:q}"
        " --clips {params.folder:q}"
        " --result {output.result:q}"
        " > {log:q} 2>&1"
