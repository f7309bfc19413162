"""raven-bench: every command of this repository under one name.

What runs the pipeline hands on to Snakemake, everything else to the script of its name; both take their own
options unchanged, so that none is written twice.
"""

import os
import runpy
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer

from evaluation.command import ended, start_log
from workflow.planning.snakemake_options import BRIEF, with_summary
from workflow.planning.suite_file import read_mapping, shipped_suites
from workflow.planning.surroundings import settle_surroundings

CHECKOUT = Path(__file__).resolve().parents[2]
FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Everything behind the command, --help too, goes to the script."""
SNAKEMAKE = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="Which causal video model is better, by how much, and is it real? Start with: raven-bench report",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)
bench = typer.Typer(
    help="Time this machine with random weights.\n\n"
    "Example: raven-bench bench gpu --size tiny --methods raven",
    no_args_is_help=True,
)
app.add_typer(bench, name="bench")

Options = Annotated[
    list[str] | None, typer.Argument(metavar="[SUITE] [OPTIONS OF SNAKEMAKE]", show_default=False)
]
SuiteName = Annotated[
    str | None, typer.Option("--suite", help="A name in workflow/config, or a file. Default: the profile's.")
]
Profile = Annotated[
    list[str] | None,
    typer.Option(help="local (toybox by default) or slurm (vbench); again for a site's own. Default: local."),
]
Released = Annotated[
    bool, typer.Option("--released", help="Published weights; nothing is trained (vbench suite).")
]
Only = Annotated[str | None, typer.Option(help="A part: 'rows=raven dimensions=color prompts=p1 samples=0'.")]


def suite_file(suite: str) -> str:
    """The file of a suite, given by its name or as a file."""
    known = shipped_suites(CHECKOUT)
    if suite in known:
        return str(known[suite].relative_to(CHECKOUT))
    if Path(suite).is_file():
        path = Path(suite).resolve()
        read_mapping(path, suite)  # Snakemake reads it first, and says less of what is no YAML
        return str(path)
    raise ValueError(
        f"there is no suite {suite!r}; there are {', '.join(known)}, or name a file that ends in .yaml."
    )


def snakemake(
    targets: Sequence[str],
    options: Sequence[str] | None,
    suite: str | None,
    profile: Sequence[str] | None,
    only: str | None = None,
    released: bool = False,
) -> None:
    """Become Snakemake. A first option without a dash is the suite."""
    more = list(options or ())
    if more and not more[0].startswith("-"):
        if suite is not None:
            raise ValueError(
                f"the suite is given twice, as {more[0]!r} and with --suite {suite}; give it once."
            )
        suite = more.pop(0)
        if more and not more[0].startswith("-"):
            raise ValueError(
                f"{more[0]!r} stands behind the suite {suite!r}; a command takes one suite, and behind it "
                "options alone, since what it makes is fixed."
            )
    if suite is not None and {"--configfile", "--configfiles"} & {*more}:
        raise ValueError(f"the suite is given twice, as {suite!r} and with --configfile; give it once.")
    chosen = ["--configfile", suite_file(suite)] if suite is not None else []
    keys = [key for key in (only and f"only={only}", released and "weights=released") if key]
    if keys and "--config" in more:  # Snakemake takes it once
        at = more.index("--config") + 1
        more[at:at] = keys
    elif keys:
        more += ["--config", *keys]
    profiles = [word for name in profile or ["local"] for word in ("--profile", name)]
    start_snakemake([*targets, *profiles, *chosen, *with_summary(more)])


def start_snakemake(arguments: Sequence[str]) -> NoReturn:
    """Become Snakemake, in the repository."""
    os.chdir(CHECKOUT)
    command = [sys.executable, "-m", "workflow.scripts.start_snakemake", *with_nested_keys(arguments)]
    os.execv(sys.executable, command)  # noqa: S606 (no shell)


def with_nested_keys(arguments: Sequence[str]) -> list[str]:
    """`--config prompts.samples=3` as `--config set="prompts.samples=3"`: Snakemake takes no dot in a key."""
    found: list[str] = []
    nested: list[str] = []
    in_config = False
    for word in arguments:
        in_config = word in ("--config", "-C") if word.startswith("-") else in_config
        name, equals, value = word.partition("=")
        if in_config and equals and name == "set":
            nested.append(value)
        elif in_config and equals and "." in name:
            nested.append(shlex.quote(word))
        else:
            found.append(word)
    if nested:
        at = next(place for place, word in enumerate(found) if word in ("--config", "-C")) + 1
        found.insert(at, f"set={' '.join(nested)}")
    return found


class Forwarded(NamedTuple):
    """A command that is a script."""

    script: str
    help: str
    examples: str = ""
    """Shown above the script's own help, where that has none."""
    suite: str | None = None
    """The suite that it is about if nothing else is said; None: it is about none."""
    before: tuple[str, ...] = ()
    """Arguments that come before what is given."""
    of_files: str = ""
    """The script that takes its place where files come first, of which nothing else is said."""


FORWARDED = {
    "score": Forwarded("score", "Score folders or zips of anybody's clips: a row each, one report."),
    "new-baseline": Forwarded(
        "baseline",
        "Write baselines/NAME.yaml with another row's numbers, every key explained.",
        "raven-bench new-baseline mine --like self_forcing",
        before=("new",),
    ),
    "baseline": Forwarded(
        "baseline",
        "Check a baseline's file: schedule, frames read, draws, network calls and cost.",
        "raven-bench baseline check self_forcing\nraven-bench baseline check drafts/mine.yaml",
    ),
    "compare": Forwarded(
        "compare_runs",
        "What changed between two runs, from their run.json; or two sets of results, prompt by prompt.",
        of_files="compare_results",
    ),
    "votes": Forwarded("votes", "Merge the blind votes of several people, and say what they agree with."),
    "bundle": Forwarded("bundle", "Pack a finished run for publication, with a hash of everything."),
    "verify": Forwarded("verify", "Compute every number of a bundle again, offline."),
    "calibrate": Forwarded("calibrate", "Our scores of official clips beside the values of VBench's board."),
    "export": Forwarded("export", "Write a finished run in the schema of Every Eval Ever."),
    "rebuild": Forwarded("rebuild", "Make a report again from its run.json, on any machine."),
    "convert": Forwarded(
        "convert_weights",
        "Convert weights: a training run, a file or a distributed checkpoint to any of the others.",
        "raven-bench convert results/vbench/train/raven raven.pt",
    ),
    "fetch": Forwarded(
        "fetch",
        "Bring and prove the files of a suite; it resumes. --released: nothing for training.",
        "raven-bench fetch\nraven-bench fetch --released --mirror /mnt/mirror\nraven-bench fetch --verify",
        "vbench",
    ),
    "doctor": Forwarded(
        "doctor",
        "Say what this machine can run for a suite, what is missing, and what brings it.",
        "raven-bench doctor\nraven-bench doctor vbench",
        "toybox",
    ),
    "encode-clips": Forwarded(
        "encode_clips",
        "Turn videos with captions into the latents that training reads.",
        "raven-bench encode-clips --list videos/captions.csv --output resources/data/mine",
    ),
    "accept": Forwarded("accept", "Keep results that older code made, and say why.", suite="toybox"),
}
BENCH_COMMANDS = {
    "gpu": Forwarded(
        "dev.bench_gpu",
        "Sampling of every method at full size.",
        "raven-bench bench gpu\nraven-bench bench gpu --size tiny --methods raven\n"
        "raven-bench bench gpu --suite frontier",
    ),
    "precision": Forwarded(
        "dev.bench_precision",
        "The error of a precision, fp8 among them, against float32 after chunk 0 and chunk 6.",
        "raven-bench bench precision\nraven-bench bench precision --methods self_forcing "
        "--weights self_forcing_dmd.pt --text models_t5_umt5-xxl-enc-bf16.pth",
    ),
    "train": Forwarded(
        "dev.bench_train",
        "The parts of a training step at full size.",
        "raven-bench bench train\nraven-bench bench train --size tiny --parts passes",
    ),
    "score": Forwarded(
        "dev.bench_score",
        "The official scorer and ours, dimension by dimension (envs/vbench/install.sh builds what it needs).",
        "raven-bench bench score --only color scene",
    ),
}


def run_script(script: str, arguments: Sequence[str]) -> int:
    """Run a script as `python -m` would. Returns its exit code."""
    sys.argv[1:] = arguments
    try:
        runpy.run_module(f"workflow.scripts.{script}", run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            typer.echo(ended.code, err=True)
            return 1
        return ended.code or 0
    return 0


def script_arguments(given: Sequence[str], suite: str | None) -> list[str]:
    """Arguments as a script takes them: a suite's name, in front or behind --suite, becomes its --config.

    suite: the one that a script is about if nothing else is said; None for one that is about no suite.
    """
    more = [
        part
        for word in given
        for part in (("--suite", word.partition("=")[2]) if word.startswith("--suite=") else (word,))
    ]
    if "--suite" in more:
        at = more.index("--suite")
        if at + 1 == len(more):
            raise ValueError("--suite needs a name.")
        more[at : at + 2] = ["--config", suite_file(more[at + 1])]
    elif suite is not None and not {"--config", "--help", "-h"} & set(more):
        more += ["--config", suite_file(suite)]
    return more


def forward(command: Forwarded, name: str, given: Sequence[str]) -> int:
    """Run a script under its name here. Returns its exit code."""
    sys.argv[0] = f"raven-bench {name}"
    arguments = [*command.before, *given]
    asks_help = bool({"--help", "-h"} & set(arguments))
    if asks_help and command.examples:
        typer.echo(f"examples:\n{textwrap.indent(command.examples, '  ')}\n")
    if name in ("doctor", "fetch") and arguments and not arguments[0].startswith("-"):
        arguments.insert(0, "--suite")
    if name in ("doctor", "fetch") and "--released" in arguments:
        at = arguments.index("--released")
        arguments[at : at + 1] = ["--replace", '{"weights":"released"}']
    arguments = script_arguments(arguments, command.suite)
    if command.suite is not None or name.startswith("bench"):
        os.chdir(CHECKOUT)  # others are about files of the user's, seen from where he is
    files = command.of_files and arguments and not arguments[0].startswith("-")
    code = run_script(command.of_files if files else command.script, arguments)
    if command.of_files and not files and asks_help:
        typer.echo("\nor, of sets of results:\n")
        code = code or run_script(command.of_files, arguments)
    if name == "fetch" and not code and not asks_help and "--verify" not in arguments:
        plan = ["--plan"] if "--plan" in arguments else []
        code = run_script("fetch_external", ["--config", arguments[arguments.index("--config") + 1], *plan])
    return code


@app.command(context_settings=SNAKEMAKE)
def report(
    options: Options = None,
    suite: SuiteName = None,
    profile: Profile = None,
    only: Only = None,
    released: Released = False,
) -> None:
    """Run a suite and write its report, reports/table.html; what is done already is not done again.

    \b
    Examples:
      raven-bench report                                   the embedded suite
      raven-bench report tiny                              a trial of a minute
      raven-bench report --profile slurm                   the vbench suite, on a cluster
      raven-bench report vbench --released                 published weights, nothing trained
      raven-bench report -j 1 --forcerun aggregate         options of Snakemake
      raven-bench report --only "rows=raven dimensions=color samples=0"
    """
    snakemake(["reports/table.html"], options, suite, profile, only, released)


@app.command(context_settings=SNAKEMAKE)
def dry_run(
    options: Options = None,
    suite: SuiteName = None,
    profile: Profile = None,
    only: Only = None,
    released: Released = False,
    every: Annotated[bool, typer.Option("--list", help="Every job with its files and its reason.")] = False,
) -> None:
    """Say what a report would take: jobs a stage, what made them needed, what they cost.

    \b
    Examples:
      raven-bench dry-run
      raven-bench dry-run vbench --list
    """
    brief = [] if every else BRIEF
    snakemake(["reports/table.html", "--dry-run", *brief], options, suite, profile, only, released)


@app.command("replay", context_settings=SNAKEMAKE)
def replay_clips(
    options: Options = None,
    suite: SuiteName = None,
    profile: Profile = None,
    row: Annotated[str | None, typer.Option(help="This row alone.")] = None,
) -> None:
    """Render five clips of every row again and compare them bit by bit.

    \b
    Examples:
      raven-bench replay
      raven-bench replay vbench --row raven --profile slurm
    """
    snakemake(["replay" if row is None else f"replay_of_{row}"], options, suite, profile)


@app.command(context_settings=FORWARD, add_help_option=False)
def leaderboard(context: typer.Context) -> None:
    """Pack every row of the vbench suite for VBench's leaderboard, or --check anybody's zip."""
    given = context.args
    if {"--check", "--totals", "--results", "--output", "--help", "-h"} & set(given):
        examples = "raven-bench leaderboard --profile slurm        # Snakemake packs every row"
        raise typer.Exit(forward(Forwarded("leaderboard", "", examples), "leaderboard", given))
    profile = [] if "--profile" in given else ["--profile", "local", "--configfile", suite_file("vbench")]
    start_snakemake(["leaderboard", *profile, *with_summary(given)])


def forwarder(command: Forwarded, prefix: str) -> Callable[[typer.Context], None]:
    """What runs a script's command."""

    def handler(context: typer.Context) -> None:
        raise typer.Exit(forward(command, f"{prefix}{context.info_name}", context.args))

    return handler


def add_forwarded(group: typer.Typer, commands: Mapping[str, Forwarded], prefix: str = "") -> None:
    """Give each script its command."""
    for name, command in commands.items():
        add = group.command(name, help=command.help, context_settings=FORWARD, add_help_option=False)
        add(forwarder(command, prefix))


add_forwarded(app, FORWARDED)
add_forwarded(bench, BENCH_COMMANDS, "bench ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and do what it says."""
    settle_surroundings(CHECKOUT)
    start_log()
    return ended(lambda: app(arguments, prog_name="raven-bench"))


if __name__ == "__main__":
    sys.exit(main())
