# scores of every row and dimension -> aggregate/scores.{json,csv}, aggregate/{variance,chunks,protocol_moves}.json
from workflow.planning.report_plan import aggregate_settings

CUSTOM_CHOSEN = [CUSTOM[name] for name in CHOSEN.custom_dimensions]


rule aggregate:
    """Normalise, total and compare: intervals over prompts, paired tests; an incomplete row gets no total."""
    input:
        prompts="<results>/prompts/prompts.jsonl",
        results=[
            f"<results>/scores/{row}/{dimension}.result.json"
            for row in CHOSEN.rows
            for dimension in scored_metrics(CHOSEN, BASELINES, row)
        ],
        filtered=expand("<results>/filter/{row}.json", row=CHOSEN.rows),
        second=[
            f"<results>/scores/{row}/second/{second}/{dimension}.result.json"
            for second, dimensions in CHOSEN.second_scores.items()
            for row in CHOSEN.baselines
            if BASELINES[row].kind != "results"
            for dimension in dimensions
        ],
        gone=gone_note(f"{FOLDERS.run}/aggregate"),
    output:
        scores="<run>/aggregate/scores.json",
        csv="<run>/aggregate/scores.csv",
        variance="<run>/aggregate/variance.json",
        chunks="<run>/aggregate/chunks.json",
        protocol_moves="<run>/aggregate/protocol_moves.json",
    log:
        "<run>/logs/aggregate.log",
    benchmark:
        "<run>/benchmarks/aggregate.tsv"
    localrule: True
    params:
        suite=SUITE.suite,
        settings=as_json(aggregate_settings(CHOSEN, BASELINES, CUSTOM_CHOSEN, SUBSET)),
        code=code_of("workflow.scripts.aggregate"),
    shell:
        "python -m workflow.scripts.aggregate"
        " --suite {params.suite:q}"
        " --prompts {input.prompts:q}"
        " --results {input.results:q}"
        " --filtered {input.filtered:q}"
        " --second {input.second:q}"
        " --settings {params.settings:q}"
        " --output {output.scores:q}"
        " --csv {output.csv:q}"
        " --variance {output.variance:q}"
        " --chunks {output.chunks:q}"
        " --protocol-moves {output.protocol_moves:q}"
        " > {log:q} 2>&1"
