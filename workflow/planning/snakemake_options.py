"""Options of Snakemake, as commands of ours hand them on."""

from collections.abc import Sequence

BRIEF = ("--quiet", "rules", "progress")
"""Of a dry run: our summary in place of Snakemake's list of every job."""
DRY = {"-n", "--dry-run", "--dryrun"}
PRINTED = {"-q", "--quiet", "-p", "--printshellcmds", "--verbose", "--debug-dag", "--logger"}
"""Options that say what is printed."""


def with_summary(options: Sequence[str]) -> list[str]:
    """A user's options; a dry run among them is told in a summary, unless they say what is printed."""
    return [*options, *(BRIEF if DRY & {*options} and not PRINTED & {*options} else ())]
