# manifest + mp4 -> pieces/<row> (gone when all is scored) -> between/<row>.json, of long clips
# Clip-to-clip consistency has an environment of its own, which is built here when first needed.
from workflow.scoring.vbench_process import MADE_FROM_LONG

LONG_HASH = environment_hash(ROOT, MADE_FROM_LONG)
LONG_BUILT = f".venvs/vbench_long/built-{LONG_HASH[:12]}"


rule cut_pieces:
    """Cut every clip of a row into the pieces that the official scorer takes for clips."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
    output:
        pieces=temp(directory("<results>/pieces/{row}")),
    log:
        "<results>/logs/cut_pieces/{row}.log",
    benchmark:
        "<results>/benchmarks/cut_pieces/{row}.tsv"
    threads: SUITE.scoring.threads
    params:
        code=code_of("workflow.scripts.cut_pieces"),
        folder=subpath(input.manifest, parent=True),
        encoding=SUITE.scoring.pieces,
    shell:
        "python -m workflow.scripts.cut_pieces"
        " --row {wildcards.row:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --clips {params.folder:q}"
        " --encoding {params.encoding:q}"
        " --threads {threads}"
        " --output {output.pieces:q}"
        " > {log:q} 2>&1"


rule between_environment:
    """Build the environment of DINOv2 and DreamSim."""
    output:
        built=LONG_BUILT,
    log:
        "<suite>/logs/between_environment.log",
    benchmark:
        "<suite>/benchmarks/between_environment.tsv"
    localrule: True
    params:
        made_from=LONG_HASH,
        torch="" if SUITE.device == "auto" else f"--torch {SUITE.device}",
    shell:
        "envs/vbench_long/install.sh" " {params.torch}" " > {log:q} 2>&1"


rule between_pieces:
    """Measure clip-to-clip consistency of a row: cosines between first frames of pieces."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        pieces="<results>/pieces/{row}",
        weights="<suite>/vbench/weights.json",
        environment=ancient(LONG_BUILT),
    output:
        between="<results>/between/{row}.json",
    log:
        "<results>/logs/between_pieces/{row}.log",
    benchmark:
        "<results>/benchmarks/between_pieces/{row}.tsv"
    threads: SUITE.scoring.threads
    params:
        suite=SUITE.suite,
        code=code_of("workflow.scripts.between_pieces", "evaluation.vbench.worker.between"),
        environment=LONG_HASH,
        python=".venvs/vbench_long/bin/python",
        device=SUITE.device,
        backend=SUITE.scoring.backend,
    shell:
        "{ON_GPU}python -m workflow.scripts.between_pieces"
        " --suite {params.suite:q}"
        " --row {wildcards.row:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --pieces {input.pieces:q}"
        " --weights {input.weights:q}"
        " --python {params.python:q}"
        " --environment {params.environment:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --backend {params.backend:q}"
        " --output {output.between:q}"
        " > {log:q} 2>&1"
