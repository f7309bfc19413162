# prompts + manifest + mp4 -> filter/<row>.json, scores/<row>/<dimension>{,.result}.json by the official VBench, in parts
# It runs in .venvs/vbench, built here when it is first needed. The environment and the scorer's checkpoints are inputs of
# filter and score and of nothing else.
from evaluation.dimensions import NAMES
from workflow.scoring.vbench_process import VENV as VBENCH_VENV, environment_hash

VBENCH = f"{RESULTS}/vbench"
VBENCH_HASH = environment_hash(ROOT)
VBENCH_BUILT = f"{VBENCH_VENV}/built-{VBENCH_HASH[:12]}"
# An environment without detectron2, which `make test-vbench` may have left, lacks this one, which four dimensions wait for.
VBENCH_WITH_DETECTRON2 = f"{VBENCH_BUILT}-detectron2"
VBENCH_READY = f"{VBENCH_VENV}/built"  # the same name for every lock
VBENCH_PYTHON = f"{VBENCH_VENV}/bin/python"
SCORE_PART = f"{PART}/scores/{{row}}/{{dimension}}.parts/{{part}}.json"
FILTER_PART = f"{PART}/filter/{{row}}.parts/{{part}}.json"
GRIT = {"object_class", "multiple_objects", "color", "spatial_relationship"}


wildcard_constraints:
    part=r"\d+-of-\d+",


rule vbench_environment:
    """Build the environment of the official scorer, detectron2 included where a dimension of the suite needs it."""
    output:
        built=VBENCH_BUILT,
        ready=VBENCH_READY,
        detectron2=[VBENCH_WITH_DETECTRON2] if GRIT & set(SUITE.dimensions) else [],
    log:
        f"{LOGS}/vbench_environment.log",
    benchmark:
        f"{BENCHMARKS}/vbench_environment.tsv"
    localrule: True
    threads: 2
    params:
        made_from=VBENCH_HASH,
        detectron2=((SUITE.scoring.detectron2 or "") if GRIT & set(SUITE.dimensions) else "none"),
        torch="" if SUITE.device == "auto" else f"--torch {SUITE.device}",
    shell:
        "(envs/vbench/install.sh {params.torch} --detectron2 {params.detectron2:q} && touch {output:q}) > {log:q} 2>&1"


rule vbench_weights:
    """Prove the scorer's fetched checkpoints and lay them out as VBench looks for them."""
    input:
        environment=ancient(VBENCH_BUILT),
    output:
        weights=f"{VBENCH}/weights.json",
    log:
        f"{LOGS}/vbench_weights.log",
    benchmark:
        f"{BENCHMARKS}/vbench_weights.tsv"
    localrule: True
    threads: 1
    params:
        config=CONFIG,
        replaced=as_json(REPLACED),
        needed=as_json([entry.model_dump() for entry in scorer_resources(ROOT, SUITE)]),
        python=VBENCH_PYTHON,
        code=digest("workflow.scripts.vbench_weights") + digest("evaluation.vbench.worker.amt_tensors"),
    shell:
        "python -m workflow.scripts.vbench_weights --config {params.config:q} --replace {params.replaced:q}"
        " --python {params.python:q} --output {output.weights:q} > {log:q} 2>&1"


rule filter_part:
    """Judge the samples of some still prompts by the official static filter, each clip only as far as is needed."""
    input:
        prompts=CHOSEN,
        manifest=f"{LISTED}/manifest.jsonl",
        weights=f"{VBENCH}/weights.json",
        environment=ancient(VBENCH_BUILT),
    output:
        part=FILTER_PART,
    log:
        f"{PART_LOGS}/filter/{{row}}.{{part}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/filter/{{row}}.{{part}}.tsv"
    threads: SUITE.scoring.threads
    params:
        code=digest("workflow.scripts.filter_part") + digest("evaluation.vbench.worker.static_filter"),
        environment=VBENCH_HASH,
        folder=lambda wc: CLIPS.format(row=wc.row),
        python=VBENCH_PYTHON,
        device=SUITE.device,
        path=SUITE.scoring.path,
    shell:
        "python -m workflow.scripts.filter_part --row {wildcards.row:q} --part {wildcards.part:q}"
        " --prompts {input.prompts:q} --manifest {input.manifest:q} --clips {params.folder:q} --weights {input.weights:q}"
        " --python {params.python:q} --environment {params.environment:q} --device {params.device:q} --threads {threads}"
        " --path {params.path:q}"
        " --output {output.part:q} > {log:q} 2>&1"


rule filter:
    """Keep the first static samples of every still prompt; what was found of each sample is recorded."""
    input:
        prompts=CHOSEN,
        parts=expand(FILTER_PART, part=SUITE.filter_parts, allow_missing=True),
    output:
        filtered=f"{PART}/filter/{{row}}.json",
    log:
        f"{PART_LOGS}/filter/{{row}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/filter/{{row}}.tsv"
    localrule: True
    threads: 1
    params:
        code=digest("workflow.scripts.filter_join"),
    shell:
        "python -m workflow.scripts.filter_join --row {wildcards.row:q} --prompts {input.prompts:q}"
        " --parts {input.parts:q} --output {output.filtered:q} > {log:q} 2>&1"


rule score_part:
    """Score some prompts of one row on one dimension by the official VBench, in one process of its own environment."""
    input:
        prompts=CHOSEN,
        manifest=f"{LISTED}/manifest.jsonl",
        filtered=f"{PART}/filter/{{row}}.json",
        weights=f"{VBENCH}/weights.json",
        environment=lambda wc: ancient(VBENCH_WITH_DETECTRON2 if wc.dimension in GRIT else VBENCH_BUILT),
    output:
        part=SCORE_PART,
    log:
        f"{PART_LOGS}/score/{{row}}/{{dimension}}.{{part}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/score/{{row}}/{{dimension}}.{{part}}.tsv"
    threads: SUITE.scoring.threads
    params:
        suite=SUITE.suite,
        code=lambda wc: digest("workflow.scripts.score_part") + scorer_digest(wc.dimension),
        environment=VBENCH_HASH,
        folder=lambda wc: CLIPS.format(row=wc.row),
        python=VBENCH_PYTHON,
        device=SUITE.device,
        path=SUITE.scoring.path,
    shell:
        "python -m workflow.scripts.score_part --suite {params.suite:q} --row {wildcards.row:q}"
        " --dimension {wildcards.dimension:q} --part {wildcards.part:q} --prompts {input.prompts:q}"
        " --manifest {input.manifest:q} --filtered {input.filtered:q} --clips {params.folder:q} --weights {input.weights:q}"
        " --python {params.python:q} --environment {params.environment:q} --device {params.device:q} --threads {threads}"
        " --path {params.path:q}"
        " --output {output.part:q} > {log:q} 2>&1"


rule score:
    """Join the parts of a dimension into what one official process would have written, to the last digit."""
    input:
        prompts=CHOSEN,
        manifest=f"{LISTED}/manifest.jsonl",
        filtered=f"{PART}/filter/{{row}}.json",
        parts=lambda wc: expand(SCORE_PART, part=SUITE.score_parts(wc.dimension), allow_missing=True),
    output:
        official=f"{PART}/scores/{{row}}/{{dimension}}.json",
        result=f"{PART}/scores/{{row}}/{{dimension}}.result.json",
    log:
        f"{PART_LOGS}/score/{{row}}/{{dimension}}.log",
    benchmark:
        f"{PART_BENCHMARKS}/score/{{row}}/{{dimension}}.tsv"
    localrule: True
    threads: 1
    params:
        suite=SUITE.suite,
        code=digest("workflow.scripts.score_join"),
    shell:
        "python -m workflow.scripts.score_join --suite {params.suite:q} --row {wildcards.row:q}"
        " --dimension {wildcards.dimension:q} --prompts {input.prompts:q} --manifest {input.manifest:q}"
        " --filtered {input.filtered:q} --parts {input.parts:q} --output {output.official:q} --result {output.result:q}"
        " > {log:q} 2>&1"


rule leaderboard_zip:
    """Pack the sixteen official results of a row as VBench's leaderboard takes them, checked."""
    input:
        results=expand(
            f"{RESULTS}/scores/{{row}}/{{dimension}}.json",
            dimension=NAMES,
            allow_missing=True,
        ),
    output:
        archive=f"{RESULTS}/leaderboard/{{row}}.zip",
    log:
        f"{LOGS}/leaderboard/{{row}}.log",
    benchmark:
        f"{BENCHMARKS}/leaderboard/{{row}}.tsv"
    localrule: True
    threads: 1
    params:
        code=digest("workflow.scripts.leaderboard"),
    shell:
        "python -m workflow.scripts.leaderboard --results {input.results:q} --output {output.archive:q} > {log:q} 2>&1"


rule leaderboard:
    """The leaderboard's zip of every row."""
    input:
        whole_run(expand(f"{RESULTS}/leaderboard/{{row}}.zip", row=SUITE.rows)),
    localrule: True
