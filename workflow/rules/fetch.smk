# resources/ (filled by `make fetch`) -> fetch/resources.json: sha256 of every fetched file;
# fetch/checkpoints.json: what was found in every checkpoint
from workflow.planning.resources import needed_resources


rule fetch:
    """Verify that every fetched file is here, unchanged, and what its YAML says. Uses no network."""
    input:
        changed=changed_fetched("fetch"),
    output:
        checksums="<suite>/fetch/resources.json",
        checkpoints="<suite>/fetch/checkpoints.json",
    log:
        "<suite>/logs/fetch.log",
    benchmark:
        "<suite>/benchmarks/fetch.tsv"
    localrule: True
    params:
        config=CONFIG,
        replaced=as_json(REPLACED),
        needed=as_json([entry.model_dump() for entry in needed_resources(ROOT, SUITE)]),
    shell:
        "python -m workflow.scripts.fetch"
        " --verify"
        " --config {params.config:q}"
        " --replace {params.replaced:q}"
        " --output {output.checksums:q}"
        " --checkpoints {output.checkpoints:q}"
        " > {log:q} 2>&1"
