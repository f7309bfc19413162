"""The command line: what it becomes, what it hands on, and where it runs."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workflow.scripts import raven_bench
from workflow.scripts.raven_bench import (
    BENCH_COMMANDS,
    FORWARDED,
    app,
    bench,
    script_arguments,
    suite_file,
    with_nested_keys,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Arguments of Snakemake, or name and arguments of a script, in place of running them."""
    found: list[list[str]] = []

    def run_script(script: str, arguments: list[str]) -> int:
        found.append([script, *arguments])
        return 0

    monkeypatch.setattr(raven_bench, "start_snakemake", lambda arguments: found.append(list(arguments)))
    monkeypatch.setattr(raven_bench, "run_script", run_script)
    monkeypatch.chdir(ROOT)
    return found


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("report", "reports/table.html --profile local"),
        ("report tiny", "reports/table.html --profile local --configfile workflow/config/tiny.yaml"),
        (
            "report --suite tiny -j 4",
            "reports/table.html --profile local --configfile workflow/config/tiny.yaml -j 4",
        ),
        ("report --profile slurm --profile site", "reports/table.html --profile slurm --profile site"),
        ("report --config weights=released", "reports/table.html --profile local --config weights=released"),
        (
            "report --only rows=raven --config a=1",
            "reports/table.html --profile local --config only=rows=raven a=1",
        ),
        (
            "dry-run vbench --released --list --only rows=raven",
            "reports/table.html --dry-run --profile local --configfile workflow/config/vbench.yaml"
            " --config only=rows=raven weights=released",
        ),
        (
            "doctor --released",
            """doctor --replace {"weights":"released"} --config workflow/config/toybox.yaml""",
        ),
        ("leaderboard --totals a.zip", "leaderboard --totals a.zip"),
        ("dry-run", "reports/table.html --dry-run --quiet rules progress --profile local"),
        ("dry-run --list", "reports/table.html --dry-run --profile local"),
        ("replay --row raven", "replay_of_raven --profile local"),
        ("leaderboard --profile slurm", "leaderboard --profile slurm"),
        (
            "leaderboard --unlock",
            "leaderboard --profile local --configfile workflow/config/vbench.yaml --unlock",
        ),
        (
            "leaderboard -n",
            "leaderboard --profile local --configfile workflow/config/vbench.yaml -n --quiet rules progress",
        ),
        ("report --only rows=a -n -p", "reports/table.html --profile local -n -p --config only=rows=a"),
        (
            "replay tiny -n --row raven",
            "replay_of_raven --profile local --configfile workflow/config/tiny.yaml -n"
            " --quiet rules progress",
        ),
        ("leaderboard --check a.zip", "leaderboard --check a.zip"),
        ("compare --before a --after b", "compare_runs --before a --after b"),
        ("doctor vbench", "doctor --config workflow/config/vbench.yaml"),
        ("accept sample --because x", "accept sample --because x --config workflow/config/toybox.yaml"),
        ("convert a b --flavour merged", "convert_weights a b --flavour merged"),
        ("new-baseline mine --like raven", "baseline new mine --like raven"),
        ("baseline check drafts/mine.yaml", "baseline check drafts/mine.yaml"),
        ("bench gpu --size tiny", "dev.bench_gpu --size tiny"),
        ("bench gpu --suite=frontier", "dev.bench_gpu --config workflow/config/frontier.yaml"),
    ],
)
def test_what_a_command_becomes(started: list[list[str]], typed: str, becomes: str) -> None:
    """Suite, profile and part are ours; everything else is handed on as it is."""
    answer = CliRunner().invoke(app, typed.split())
    assert (answer.exit_code, started) == (0, [becomes.split()]), answer.output


def test_fetch_brings_the_suite_and_what_its_external_baselines_need(started: list[list[str]]) -> None:
    config = ["--config", "workflow/config/vbench.yaml"]
    CliRunner().invoke(app, ["fetch", "--released"])
    assert started == [["fetch", "--replace", '{"weights":"released"}', *config], ["fetch_external", *config]]
    started.clear()
    CliRunner().invoke(app, ["fetch", "--plan"])
    assert started == [["fetch", "--plan", *config], ["fetch_external", *config, "--plan"]]
    started.clear()
    CliRunner().invoke(app, ["fetch", "tiny", "--verify"])
    assert started == [["fetch", "--config", "workflow/config/tiny.yaml", "--verify"]]


def test_a_wrong_suite_is_answered_with_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="there is no suite 'tiyn'; there are ablations, ablations_ci, calib"
    ):
        suite_file("tiyn")
    with pytest.raises(ValueError, match=r"--suite needs a name\."):
        script_arguments(["--suite"], "toybox")
    mine = tmp_path / "mine.yaml"
    mine.write_text("suite:\tmine\n  a")
    with pytest.raises(ValueError, match=r"mine\.yaml: .* \(line \d\)"):  # Snakemake would not say where
        suite_file(str(mine))
    mine.write_text("suite: mine\n")
    assert suite_file(str(mine)) == str(mine)


def test_a_suite_given_twice_is_refused(started: list[list[str]]) -> None:
    answer = CliRunner().invoke(app, ["report", "tiny", "--suite", "ci"])
    assert (answer.exit_code, started) == (1, [])
    assert "given twice, as 'tiny' and with --suite ci" in str(answer.exception)
    answer = CliRunner().invoke(app, ["report", "tiny", "--configfile", "workflow/config/ci.yaml"])
    assert "given twice, as 'tiny' and with --configfile" in str(answer.exception)


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ("--config prompts.samples=3 -n", "--config 'set=prompts.samples=3' -n"),
        ("--config only=x a.b=1 c.d=2", "--config 'set=a.b=1 c.d=2' only=x"),
        ("--config set='a.b=1' 'c.d=two words'", "--config \"set=a.b=1 'c.d=two words'\""),
        ("x.html --config weights=released --cores 2", "x.html --config weights=released --cores 2"),
        ("-C a.b=1 --set-threads rule.x=3", "-C set=a.b=1 --set-threads rule.x=3"),
    ],
)
def test_nested_keys_reach_snakemake_in_the_form_that_it_takes(given: str, handed_on: str) -> None:
    assert with_nested_keys(shlex.split(given)) == shlex.split(handed_on)


def test_every_command_has_an_example() -> None:
    """Guards against a --help that leaves a user with names of flags."""
    runner = CliRunner()
    for name in ("report", "dry-run", "replay"):
        assert f"raven-bench {name}" in runner.invoke(app, [name, "--help"]).output.split("Examples:")[1]
    for prefix, commands in (("", FORWARDED), ("bench ", BENCH_COMMANDS)):
        for name, command in commands.items():
            script = (ROOT / f"workflow/scripts/{command.script.replace('.', '/')}.py").read_text("utf-8")
            assert f"raven-bench {prefix}{name} " in f"{command.examples}\n{script}".replace("\n", " "), name
    listed = runner.invoke(app, ["--help"]).output + runner.invoke(bench, ["--help"]).output
    assert all(name in listed for name in (*FORWARDED, *BENCH_COMMANDS, "leaderboard"))


COMMANDS = [
    "",
    *("report", "dry-run", "replay", "leaderboard", "bench"),
    *FORWARDED,
    *(f"bench {name}" for name in BENCH_COMMANDS),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_all_that_help_does(
    command: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The real scripts. Guards against a help that ends with an error, as that of fetch did."""
    monkeypatch.chdir(ROOT)
    answer = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="raven-bench")
    assert answer.exit_code == 0, answer.output
    assert not caplog.messages
    assert "usage: raven-bench" in answer.output.replace("Usage", "usage")
    assert not [word for word in ("workflow.scripts", "compare_results.py") if word in answer.output]
    options = answer.output.partition("usage: ")[2]
    if command in ("doctor", "fetch", "accept"):  # --config is what we write in place of a suite's name
        assert "SUITE" in options and "--config" not in options
        assert ("--released" in options) == (command != "accept") and "--replace" not in options
    if command == "compare":
        assert "--before BEFORE" in options and "RESULTS [RESULTS ...]" in options
    if command == "bench":
        assert "raven-bench bench gpu --size tiny" in answer.output


def test_a_script_shows_its_own_help_under_our_name(capsys: pytest.CaptureFixture[str]) -> None:
    """The real script, its exit code handed on."""
    answer = CliRunner().invoke(app, ["leaderboard", "--check", "no.zip", "--output", "x"])
    assert answer.exit_code == 1
    answer = CliRunner().invoke(app, ["leaderboard", "--help"])
    assert answer.exit_code == 0
    assert "raven-bench leaderboard --profile slurm" in answer.output
    assert "usage: raven-bench leaderboard" in answer.output


def test_snakemake_by_its_own_name_says_one_sentence_too(tmp_path: Path) -> None:
    """In a checkout it is start_snakemake, elsewhere Snakemake itself; arguments arrive as they are."""
    shutil.copy(ROOT / "envs/main/snakemake", tmp_path)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def called(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / "snakemake"), *arguments]
        return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)

    last = called(ROOT, "--profile", "local", "--configfile", "workflow/config/tiny.yaml", "reports/a b")
    assert last.returncode == 1
    assert last.stderr.startswith("2 config files were given (workflow/config/tiny.yaml, reports/a b), but ")
    assert len(last.stderr.splitlines()) == 1
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    assert called(tmp_path, "-n", "a b").stdout.splitlines() == ["-m", "snakemake", "-n", "a b"]


def test_the_command_belongs_to_the_checkout_it_is_called_in(tmp_path: Path) -> None:
    """Any folder inside will do, of whatever name; outside it says so in one sentence."""
    programs, checkout = tmp_path / "environment/bin", tmp_path / "my checkout"
    programs.mkdir(parents=True)
    shutil.copy(ROOT / "envs/main/raven-bench", programs)
    (programs / "python").write_text('#!/bin/sh\nshift 2\nprintf "%s\\n" "$@"\n')
    (programs / "python").chmod(0o755)
    (checkout / "workflow/scripts").mkdir(parents=True)
    (checkout / "workflow/scripts/raven_bench.py").touch()
    (checkout / "reports").mkdir()
    link = tmp_path / "raven-bench"
    link.symlink_to(programs / "raven-bench")

    def called(where: Path) -> subprocess.CompletedProcess[str]:
        command = [str(link), "report", "a b"]
        return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)

    assert called(checkout / "reports").stdout.splitlines() == [str(checkout), "report", "a b"]
    outside = called(tmp_path)
    assert outside.returncode == 1
    assert outside.stderr == (
        f"raven-bench: {tmp_path} is not inside a checkout of raven-bench; change into one and "
        "run it again.\n"
    )
