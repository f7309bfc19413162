"""Secrets and home paths never reach a record: values, texts and command lines, with fake tokens only."""

import json
from pathlib import Path

import pytest

from reports.scrubbing import scrub, scrub_command
from workflow.planning.banner import planned_prompts, this_start
from workflow.planning.suite_file import load_suite

ROOT = Path(__file__).parents[2]
WANDB = "0123456789abcdef0123456789abcdef01234567"
HUB = "hf_" + "Ab3" * 11
ENVIRONMENT = {
    "HOME": "/data/people/ann",
    "WANDB_API_KEY": WANDB,
    "HF_TOKEN": HUB,
    "LANG": "C.UTF-8",
    "MY_SECRET": "short",
}


def test_secrets_and_home_paths_are_removed() -> None:
    """Whatever a config holds, neither page nor run.json shows tokens or where somebody lives; counts of
    tokens stay.
    """
    given = {
        "hf_token": "abc",
        "tokens": 16,
        "a": ["/home/ann/x", "/repo/models/y", {"password": "p"}],
        "b": "/root/z",
        "c": "/repository/x and /repo",
        "d": "/data/people/ann/clips, /data/people/anna",
        "e": f"tried {WANDB} at https://ann:pw@host/x",
    }
    wanted = {
        "hf_token": "<removed>",
        "tokens": 16,
        "a": ["~/x", "./models/y", {"password": "<removed>"}],
        "b": "~/z",
        "c": "/repository/x and .",
        "d": "~/clips, /data/people/anna",
        "e": "tried <removed> at https://<removed>@host/x",
    }
    assert scrub(given, "/repo", ENVIRONMENT) == wanted


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            [
                "/repo/.venv/bin/snakemake",
                "--profile",
                "slurm",
                "reports/table.html",
                "--config",
                "weights=released",
            ],
            "snakemake --profile slurm reports/table.html --config weights=released",
        ),
        (
            ["/x/snakemake/__main__.py", "--config", f"wandb_api_key={WANDB}"],
            "snakemake --config wandb_api_key=<removed>",
        ),
        (["snakemake", "--config", "HF_TOKEN=tiny"], "snakemake --config HF_TOKEN=<removed>"),
        (
            ["snakemake", "--envvars", "HF_TOKEN", "WANDB_API_KEY"],
            "snakemake --envvars HF_TOKEN WANDB_API_KEY",
        ),
        (["snakemake", "--hub-token", "tiny", "-n"], "snakemake --hub-token <removed> -n"),
        (["snakemake", f"--token={HUB}"], "snakemake --token=<removed>"),
        (
            ["snakemake", "--config", 'x={"api_key": "a b"}'],
            """snakemake --config 'x={"api_key": <removed>}'""",
        ),
        (
            ["snakemake", "--configfile", "/data/people/ann/my suite.yaml"],
            "snakemake --configfile '~/my suite.yaml'",
        ),
        (["snakemake", "--directory", "/home/bob/x", f"{HUB[3:]}"], f"snakemake --directory '~/x' {HUB[3:]}"),
        (["snakemake", "ghp_" + "a1B2" * 9], "snakemake <removed>"),
    ],
)
def test_command_lines_are_scrubbed(words: list[str], shown: str) -> None:
    """The command stays readable; secrets by name, by form and by the environment's values do not."""
    assert scrub_command(words, "/repo", ENVIRONMENT) == shown


def test_the_record_of_a_start_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the workflow notes when it is started: the command without the token, the config without the home
    path.
    """
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    monkeypatch.setenv("HOME", str(ROOT.parent))
    suite = load_suite(ROOT, [ROOT / "workflow/config/tiny.yaml"], {})
    command = [
        str(ROOT / ".venv/bin/snakemake"),
        "--config",
        f"note=key-{WANDB}",
        "--directory",
        f"{ROOT.parent}/elsewhere",
    ]
    start = this_start(
        suite,
        planned_prompts(suite, ROOT),
        root=ROOT,
        config=str(ROOT / "workflow/config/tiny.yaml"),
        replaced={},
        command=command,
        jobs=12,
    )
    text = json.dumps(start.model_dump(mode="json"))
    assert WANDB not in text
    assert f"{ROOT.parent}/" not in text
    assert start.command == "snakemake --config note=key-<removed> --directory '~/elsewhere'"
    assert start.config == "./workflow/config/tiny.yaml"


@pytest.mark.slow
def test_no_file_of_the_report_holds_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token in the environment, in a setting, in a note and in the start's command, and a home path: in
    none of the files or log lines.
    """
    from tests.reports import synthetic

    home = tmp_path / "people" / "ann"
    folder = home / "toybox"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", HUB)
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    scores = synthetic.make_results(folder, embedded=0)
    settings = synthetic.report_settings() | {"note": f"run with {HUB} from {home}/suite.yaml"}
    settings["rows"]["raven"]["settings"] |= {
        "api_key": "abcdef",
        "where": f"{home}/weights",
        "log": f"WANDB_API_KEY={WANDB}",
    }
    settings["config"]["prompts"]["list"] = f"{home}/list.csv"
    synthetic.run_script(folder, scores, settings)
    log = capsys.readouterr().err
    assert "7 rows" in log
    written = [path for path in folder.iterdir() if path.is_file()]
    assert {"run.json", "report.html", "methods.md", "table.tex"} <= {path.name for path in written}
    for text in (
        *(path.read_text(encoding="utf-8") for path in written),
        log.replace(str(folder), ""),
    ):
        for secret in (HUB, WANDB, str(home), "abcdef"):
            assert secret not in text
    assert "run with &lt;removed&gt; from ~/suite.yaml" in (folder / "report.html").read_text(
        encoding="utf-8"
    )
