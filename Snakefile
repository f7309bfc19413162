# raven-bench: fetch, prompts, train, convert, sample, check, filter, score, aggregate, report.
# `snakemake --profile local` runs the embedded suite, `--profile slurm` the vbench suite.
# `--configfile` chooses another, `--config only="..."` a part of it (workflow/planning/subset.py).
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/prompts.smk"
include: "workflow/rules/own_weights.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/convert.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/external.smk"
include: "workflow/rules/import.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/custom.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/replay.smk"
include: "workflow/rules/named.smk"


for rules in included_rules(SUITE, BASELINES, ROOT):

    include: rules


rule all:
    """The report of the chosen suite."""
    default_target: True
    input:
        "reports/table.html",
    localrule: True


onstart:
    RUN.start()


onsuccess:
    RUN.end(done=True)


onerror:
    RUN.end(done=False)
