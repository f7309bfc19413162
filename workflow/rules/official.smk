# prompts + manifest + mp4 -> filter/<row>.json, scores/<row>/<dimension>{,.result}.json
# The official VBench works in parts and in .venvs/vbench, which is built here when first needed.
# That environment and the scorer's checkpoints are inputs of filter and score and of nothing else.
from evaluation.dimensions import NAMES
from evaluation.vbench.long_reduce import FUSED
from evaluation.vbench.scorers import OFFICIAL_SCORERS
from workflow.planning.resources import scorer_resources
from workflow.scoring.vbench_process import environment_hash

VBENCH_HASH = environment_hash(ROOT)
# Named by the hash of its lock. An environment without detectron2, which `make test-vbench` may have left,
# lacks the second file, which four dimensions wait for.
VBENCH_BUILT = f".venvs/vbench/built-{VBENCH_HASH[:12]}"
VBENCH_WITH_DETECTRON2 = f"{VBENCH_BUILT}-detectron2"
# Long clips are scored in pieces (rules/pieces.smk).
LONG = SUITE.clip.long_fps is not None
GRIT = {name for name, scorer in OFFICIAL_SCORERS.items() if "grit" in scorer.checkpoints}
DETECTRON2 = [SUITE.scoring.detectron2] if GRIT & set(SUITE.dimensions) else ["none"]


wildcard_constraints:
    part=r"\d+-of-\d+",


def between_of(wildcards):
    """What was measured between the pieces of long clips, for the dimensions that it is a part of."""
    return (
        [f"{FOLDERS.results}/between/{wildcards.row}.json"] if LONG and wildcards.dimension in FUSED else []
    )


def whole_results(wildcards):
    """Every row's zip, which a subset run must not make: nothing in it could say that it is of one."""
    if SUBSET:
        raise ValueError(
            f"The leaderboard's zip holds whole results only. {SUBSET.note} Run it without `only`."
        )
    return expand("<suite>/leaderboard/{row}.zip", row=WITH_CLIPS)


rule vbench_environment:
    """Build the official scorer's environment, detectron2 included where a dimension needs it."""
    output:
        built=VBENCH_BUILT,
        ready=".venvs/vbench/built",
        detectron2=[VBENCH_WITH_DETECTRON2] if GRIT & set(SUITE.dimensions) else [],
    log:
        "<suite>/logs/vbench_environment.log",
    benchmark:
        "<suite>/benchmarks/vbench_environment.tsv"
    localrule: True
    threads: 2
    params:
        made_from=VBENCH_HASH,
        # Without the flag, its repository: of an empty value Snakemake writes nothing, not even quotes.
        detectron2=[word for source in DETECTRON2 if source for word in ("--detectron2", source)],
        torch="" if SUITE.device == "auto" else f"--torch {SUITE.device}",
    shell:
        "(envs/vbench/install.sh"
        " {params.torch}"
        " {params.detectron2:q}"
        " && touch {output:q})"
        " > {log:q} 2>&1"


rule vbench_weights:
    """Verify the scorer's fetched checkpoints and lay them out as VBench looks for them."""
    input:
        environment=ancient(VBENCH_BUILT),
        changed=changed_fetched("vbench"),
    output:
        weights="<suite>/vbench/weights.json",
    log:
        "<suite>/logs/vbench_weights.log",
    benchmark:
        "<suite>/benchmarks/vbench_weights.tsv"
    localrule: True
    params:
        config=CONFIG,
        replaced=as_json(REPLACED),
        needed=as_json([entry.model_dump() for entry in scorer_resources(ROOT, SUITE)]),
        python=".venvs/vbench/bin/python",
        code=code_of("workflow.scripts.vbench_weights", "evaluation.vbench.worker.networks"),
    shell:
        "python -m workflow.scripts.vbench_weights"
        " --config {params.config:q}"
        " --replace {params.replaced:q}"
        " --python {params.python:q}"
        " --output {output.weights:q}"
        " > {log:q} 2>&1"


rule filter_part:
    """Judge the samples of some still prompts by the official static filter."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        weights="<suite>/vbench/weights.json",
        environment=ancient(VBENCH_BUILT),
    output:
        part="<results>/filter/{row}.parts/{part}.json",
    log:
        "<results>/logs/filter/{row}.{part}.log",
    benchmark:
        "<results>/benchmarks/filter/{row}.{part}.tsv"
    threads: SUITE.scoring.threads
    params:
        code=code_of("workflow.scripts.filter_part", "evaluation.vbench.worker.static_filter"),
        environment=VBENCH_HASH,
        folder=subpath(input.manifest, parent=True),
        python=".venvs/vbench/bin/python",
        device=SUITE.device,
        backend=SUITE.scoring.backend,
    shell:
        "{ON_GPU}python -m workflow.scripts.filter_part"
        " --row {wildcards.row:q}"
        " --part {wildcards.part:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --clips {params.folder:q}"
        " --weights {input.weights:q}"
        " --python {params.python:q}"
        " --environment {params.environment:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --backend {params.backend:q}"
        " --output {output.part:q}"
        " > {log:q} 2>&1"


rule filter:
    """Keep the first static samples of every still prompt; what was found of each sample is recorded."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        parts=expand("<results>/filter/{{row}}.parts/{part}.json", part=SUITE.filter_parts),
    output:
        filtered="<results>/filter/{row}.json",
    log:
        "<results>/logs/filter/{row}.log",
    benchmark:
        "<results>/benchmarks/filter/{row}.tsv"
    localrule: True
    params:
        code=code_of("workflow.scripts.filter_join"),
    shell:
        "python -m workflow.scripts.filter_join"
        " --row {wildcards.row:q}"
        " --prompts {input.prompts:q}"
        " --parts {input.parts:q}"
        " --output {output.filtered:q}"
        " > {log:q} 2>&1"


rule score_part:
    """Score some prompts of one row on one dimension by the official VBench, in a process of its own."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        filtered="<results>/filter/{row}.json",
        weights="<suite>/vbench/weights.json",
        environment=lambda wc: ancient(VBENCH_WITH_DETECTRON2 if wc.dimension in GRIT else VBENCH_BUILT),
        pieces="<results>/pieces/{row}" if LONG else [],
    output:
        part="<results>/scores/{row}/{dimension}.parts/{part}.json",
    log:
        "<results>/logs/score/{row}/{dimension}.{part}.log",
    benchmark:
        "<results>/benchmarks/score/{row}/{dimension}.{part}.tsv"
    threads: SUITE.scoring.threads
    params:
        suite=SUITE.suite,
        code=code_of("workflow.scripts.score_part", lambda wc: OFFICIAL_SCORERS[wc.dimension].modules),
        scorer=lambda wc: as_json(OFFICIAL_SCORERS[wc.dimension].as_job()),
        environment=VBENCH_HASH,
        folder=subpath(input.manifest, parent=True),
        pieces=lambda wc: [f"--pieces={FOLDERS.results}/pieces/{wc.row}"] if LONG else [],
        python=".venvs/vbench/bin/python",
        device=SUITE.device,
        backend=SUITE.scoring.backend,
        second=[],
    shell:
        "{ON_GPU}python -m workflow.scripts.score_part"
        " --suite {params.suite:q}"
        " --row {wildcards.row:q}"
        " --dimension {wildcards.dimension:q}"
        " --part {wildcards.part:q}"
        " --scorer {params.scorer:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --filtered {input.filtered:q}"
        " --clips {params.folder:q}"
        " {params.pieces:q}"
        " --weights {input.weights:q}"
        " --python {params.python:q}"
        " --environment {params.environment:q}"
        " --device {params.device:q}"
        " --threads {threads}"
        " --backend {params.backend:q}"
        " {params.second:q}"
        " --output {output.part:q}"
        " > {log:q} 2>&1"


rule score:
    """Join the parts of a dimension into what one official process would have written, to the last digit."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        manifest="<results>/clips/{row}/manifest.jsonl",
        filtered="<results>/filter/{row}.json",
        parts=lambda wc: expand(
            "<results>/scores/{row}/{dimension}.parts/{part}.json",
            row=wc.row,
            dimension=wc.dimension,
            part=SUITE.score_parts(wc.dimension),
        ),
        between=between_of,
    output:
        official="<results>/scores/{row}/{dimension}.json",
        result="<results>/scores/{row}/{dimension}.result.json",
    log:
        "<results>/logs/score/{row}/{dimension}.log",
    benchmark:
        "<results>/benchmarks/score/{row}/{dimension}.tsv"
    localrule: True
    params:
        suite=SUITE.suite,
        code=code_of("workflow.scripts.score_join"),
        second=[],
        long=lambda wc: ["--long"] * LONG + [f"--between={name}" for name in between_of(wc)],
    shell:
        "python -m workflow.scripts.score_join"
        " --suite {params.suite:q}"
        " --row {wildcards.row:q}"
        " --dimension {wildcards.dimension:q}"
        " --prompts {input.prompts:q}"
        " --manifest {input.manifest:q}"
        " --filtered {input.filtered:q}"
        " --parts {input.parts:q}"
        " {params.long:q}"
        " --output {output.official:q}"
        " --result {output.result:q}"
        " {params.second:q}"
        " > {log:q} 2>&1"


rule leaderboard_zip:
    """Pack the sixteen official results of a row as VBench's leaderboard takes them, checked."""
    input:
        results=expand(
            "<suite>/scores/{{row}}/{dimension}.json",
            dimension=NAMES,
        ),
    output:
        archive="<suite>/leaderboard/{row}.zip",
    log:
        "<suite>/logs/leaderboard/{row}.log",
    benchmark:
        "<suite>/benchmarks/leaderboard/{row}.tsv"
    localrule: True
    params:
        code=code_of("workflow.scripts.leaderboard"),
    shell:
        "python -m workflow.scripts.leaderboard"
        " --results {input.results:q}"
        " --output {output.archive:q}"
        " > {log:q} 2>&1"


rule leaderboard:
    """The leaderboard's zip of every row."""
    input:
        whole_results,
    localrule: True
