# mp4, scored once more for "What the protocol moves" -> scores/<row>/second/<second>/<dimension>.result.json
from evaluation.vbench.scorers import second_scorer
from workflow.planning.suite import OFFICIAL_BENCHMARKS


wildcard_constraints:
    second="|".join(SUITE.second_scores),


if SUITE.benchmark in OFFICIAL_BENCHMARKS:

    use rule score_part as score_second_part with:
        output:
            part="<results>/scores/{row}/second/{second}/{dimension}.parts/{part}.json",
        log:
            "<results>/logs/score_second/{row}/{second}/{dimension}.{part}.log",
        benchmark:
            "<results>/benchmarks/score_second/{row}/{second}.{dimension}.{part}.tsv"
        params:
            second=lambda wc: ["--second", wc.second],
            scorer=lambda wc: as_json(second_scorer(wc.dimension, wc.second).as_job()),
            code=code_of(
                "workflow.scripts.score_part", lambda wc: second_scorer(wc.dimension, wc.second).modules
            ),

    use rule score as score_second with:
        input:
            prompts="<results>/prompts/prompts.jsonl",
            manifest="<results>/clips/{row}/manifest.jsonl",
            filtered="<results>/filter/{row}.json",
            parts=lambda wc: expand(
                "<results>/scores/{row}/second/{second}/{dimension}.parts/{part}.json",
                row=wc.row,
                second=wc.second,
                dimension=wc.dimension,
                part=SUITE.score_parts(wc.dimension),
            ),
        output:
            official="<results>/scores/{row}/second/{second}/{dimension}.json",
            result="<results>/scores/{row}/second/{second}/{dimension}.result.json",
        log:
            "<results>/logs/score_second/{row}/{second}/{dimension}.log",
        benchmark:
            "<results>/benchmarks/score_second/{row}/{second}.{dimension}.tsv"
        params:
            second=lambda wc: ["--second", wc.second],

else:

    use rule score as score_second with:
        output:
            official="<results>/scores/{row}/second/{second}/{dimension}.json",
            result="<results>/scores/{row}/second/{second}/{dimension}.result.json",
        log:
            "<results>/logs/score_second/{row}/{second}/{dimension}.log",
        benchmark:
            "<results>/benchmarks/score_second/{row}/{second}.{dimension}.tsv"
        params:
            second=lambda wc: ["--second", wc.second],
