# (fetched prompt files, or the user's list) -> prompts/prompts.jsonl
from workflow.planning.prompt_plan import prompt_stage_settings

PROMPT_LIST = prompt_list_copy(SUITE)


rule prompts:
    """Write the suite's prompt records: text, dimensions, sample counts, ground truth."""
    input:
        fetched="<suite>/fetch/resources.json" if SUITE.resources else [],
        custom=PROMPT_LIST if has_user_list(SUITE) else [],
    output:
        prompts="<suite>/prompts/prompts.jsonl",
    log:
        "<suite>/logs/prompts.log",
    benchmark:
        "<suite>/benchmarks/prompts.tsv"
    localrule: True
    params:
        settings=as_json(prompt_stage_settings(ROOT, SUITE)),
        custom=["--list", PROMPT_LIST] if PROMPT_LIST else [],
        code=code_of("workflow.scripts.prompts"),
    shell:
        "python -m workflow.scripts.prompts"
        " --settings {params.settings:q}"
        " {params.custom:q}"
        " --output {output.prompts:q}"
        " > {log:q} 2>&1"
