# resources/ (filled by `make fetch`) -> fetch/resources.json: proof of what is there, with sha256; fetch/checkpoints.json: what
# was found in every checkpoint.


rule fetch:
    """Prove that every fetched file of the suite is present, unchanged and what its YAML says. Uses no network: `make fetch` does."""
    output:
        manifest=FETCHED,
        checkpoints=f"{RESULTS}/fetch/checkpoints.json",
    log:
        f"{LOGS}/fetch.log",
    benchmark:
        f"{BENCHMARKS}/fetch.tsv"
    localrule: True
    threads: 1
    params:
        config=CONFIG,
        replaced=as_json(REPLACED),
        needed=as_json([entry.model_dump() for entry in needed_resources(ROOT, SUITE)]),
    shell:
        "python -m workflow.scripts.fetch --verify --config {params.config:q} --replace {params.replaced:q}"
        " --output {output.manifest:q} --checkpoints {output.checkpoints:q} > {log:q} 2>&1"
