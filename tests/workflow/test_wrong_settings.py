"""Wrong settings of suites, baselines and training are refused before any job, in one sentence.

The table is wrong_settings.yaml beside this file.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baselines.spec import load_row
from baselines.strict_yaml import read_strict
from workflow.planning.banner import check_inputs
from workflow.planning.custom_dimensions import custom_dimensions
from workflow.planning.paths import baseline_file
from workflow.planning.resources import needed_resources
from workflow.planning.suite_file import load_suite

ROOT = Path(__file__).parents[2]
TINY = "workflow/config/tiny.yaml"
CASES = read_strict(Path(__file__).with_name("wrong_settings.yaml"), list[dict[str, Any]])


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose settings may be edited; everything else is a link."""
    folder = tmp_path_factory.mktemp("settings")
    shutil.copytree(ROOT / "baselines", folder / "baselines", ignore=shutil.ignore_patterns("*.py", "__*"))
    shutil.copytree(ROOT / "workflow/config", folder / "workflow/config")
    (folder / "workflow/resources.yaml").symlink_to(ROOT / "workflow/resources.yaml")
    (folder / "models").symlink_to(ROOT / "models")
    return folder


@pytest.fixture
def project(copy: Path) -> Iterator[Path]:
    kept = {
        path: path.read_bytes()
        for path in (*copy.glob("baselines/*.yaml"), *copy.glob("workflow/config/*.yaml"))
    }
    yield copy
    for path, content in kept.items():
        path.write_bytes(content)


def read_everything(root: Path, config: str) -> None:
    """What a start of Snakemake reads before it plans a job (workflow/rules/common.smk)."""
    suite = load_suite(root, [root / config], {})
    baselines = {row: load_row(root / baseline_file(suite, row)) for row in suite.baselines}
    custom_dimensions(suite, root)
    needed_resources(root, suite)
    check_inputs(suite, root, baselines, config)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_wrong_settings_are_one_sentence(case: dict[str, Any], project: Path) -> None:
    name = case.get("file", TINY)
    path = project / name
    text = path.read_text()
    assert case["old"] in text, "the table follows the shipped files"
    path.write_text(text.replace(case["old"], case["new"], 1))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_everything(project, TINY if name.startswith("baselines/") else name)
    said = str(caught.value)
    assert all(str(word) in said for word in case["says"]), said
    assert "\n" not in said and said.endswith("."), said
    assert len(said) < 600 or "allowed" in said, said


@pytest.mark.parametrize("config", sorted(path.stem for path in (ROOT / "workflow/config").glob("*.yaml")))
def test_shipped_settings_are_taken(config: str, project: Path) -> None:
    """Guards against a check that refuses what is right."""
    read_everything(project, f"workflow/config/{config}.yaml")


def test_a_bomb_of_aliases_is_refused_at_once(project: Path) -> None:
    """Nine values nine times over, eight levels deep, are 43 million."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    path = project / TINY
    path.write_text(path.read_text() + "\n".join(lines) + "\n")
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"tiny\.yaml: its aliases stand for more than 100,000"):
        read_everything(project, TINY)
    assert time.monotonic() - began < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--config", "sampels=3"], "key 'sampels' is unknown"),
        (["--config", "only=rows=ravn"], "only names the row 'ravn'"),
        (["--config", "aggregate={draws: 100, seed: 0}"], "aggregate.draws is 100"),
        (["--config", "device=cuda"], "sample, train need a GPU, but this machine has none"),
        (["--config", "set=sample.batch=010"], "010 is 8 to YAML"),
    ],
)
@pytest.mark.parametrize("way", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_snakemake_itself_says_one_sentence(
    way: list[str], given: list[str], words: str, tmp_path: Path
) -> None:
    """Not where in our code it was noticed; a dry run goes on without a GPU, and says so."""
    command = [sys.executable, "-m", "snakemake", "--nolock", "--profile", "local", "--configfile", TINY]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, *given, *way], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert words in said
    assert "Traceback" not in said and "  File " not in said, said
    if "device=cuda" not in given:
        assert done.returncode == 1
        assert [line for line in said.splitlines() if not line.startswith("Using profile")] == [
            line for line in said.splitlines() if words in line
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("all --config nonsense", "(Unparsable value: 'nonsense')"),
        (
            "replay_of_nosuch",
            "suite tiny has no row 'nosuch' whose clips are sampled here; it has raven, self_",
        ),
        (
            "all --forcerun nosuch",
            "No rule to produce nosuch; raven-bench report --list-rules names the rules.",
        ),
    ],
)
def test_what_snakemake_notices_late_is_one_sentence(given: str, says: str) -> None:
    """Guards against its tracebacks, and "if you use input functions", where a command of ours starts it."""
    command = [sys.executable, "-m", "workflow.scripts.start_snakemake", *given.split(), "--nolock"]
    profile = ["--profile", "local", "--configfile", TINY, "--dry-run", "--quiet", "rules", "progress"]
    done = subprocess.run([*command, *profile], cwd=ROOT, capture_output=True, text=True, check=False)
    *warnings, said = (done.stdout + done.stderr).splitlines()
    assert says in said
    assert all(line.startswith("Warning: ") for line in warnings), warnings
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"suite: t\xffny\n", "byte 8 is not UTF-8"),
        (b"", "the file is None"),
        (b"- a\n- b\n", "the file is"),
        (b"just text", "the file is"),
        (b"a: " + b"[" * 1200, "nested too deeply"),
        (b"a: 1\n---\nb: 2\n", "document"),
    ],
)
def test_what_is_no_settings_at_all_is_one_sentence(content: bytes, words: str, project: Path) -> None:
    (project / TINY).write_bytes(content)
    with pytest.raises(ValueError, match=r"^workflow/config/tiny\.yaml: ") as caught:
        read_everything(project, TINY)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
