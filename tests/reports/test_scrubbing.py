"""Secrets and home paths never reach a record: values, texts and command lines, with fake tokens only."""

import json
from pathlib import Path

import pytest

from reports.scrubbing import scrub, scrub_command
from workflow.settings import load_suite
from workflow.start import planned_prompts, this_start

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
    """Whatever a config holds, neither page nor run.json shows tokens or where somebody lives; counts of tokens stay."""
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
    """What the workflow notes when it is started: the command without the token, the config without the home path."""
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
        command=command,
        jobs=12,
    )
    text = json.dumps(start.model_dump(mode="json"))
    assert WANDB not in text
    assert str(ROOT.parent) not in text
    assert start.command == "snakemake --config note=key-<removed> --directory '~/elsewhere'"
    assert start.config == "./workflow/config/tiny.yaml"
