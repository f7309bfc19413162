"""Whatever a script is given, it ends as one message without a traceback and exit code 1, by one wrapper.

Wrong inputs of the commands that people type are wrong_inputs.yaml beside this file; every other script is
given the same wrong files for all that it requires.
"""

import ast
import importlib
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.strict_yaml import read_strict
from evaluation.command import TRACEBACKS, keep_traceback, message_of

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT / "workflow/scripts").with_suffix("").as_posix().replace("/", ".")
    for path in (ROOT / "workflow/scripts").rglob("*.py")
    if path.name != "__init__.py"
)
CASES = read_strict(Path(__file__).with_name("wrong_inputs.yaml"), list[dict[str, Any]])
FLAG = "--[a-z-]+"
BECOME = ("launch", "on_gpu", "raven_bench", "start_snakemake", "dev.train_embedded")
"""Scripts that turn into another program, or train for as long as they are told."""


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Wrong files by their name in the table, in a folder that looks like the repository."""
    for name in ("baselines", "envs", "evaluation", "models", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "junk").write_bytes(np.random.default_rng(1).bytes(64) + b"\xff\xff")
    (tmp_path / "text").write_text("This is no such file.\n")
    (tmp_path / "json").write_text("{}\n")
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "zip", "w"):
        pass
    names = ("junk", "text", "json", "folder", "zip", "none")
    monkeypatch.chdir(tmp_path)
    return {name: str(tmp_path / name) for name in names} | {
        "config": str(ROOT / "workflow/config/tiny.yaml")
    }


def end_of(script: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and last line of a script, run in this process."""
    try:
        code = importlib.import_module(f"workflow.scripts.{script}").main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said, said
    return code, said.strip()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_the_one_end(script: str) -> None:
    """`sys.exit(main())`, whose main returns what `run` returns: nothing else catches and prints."""
    tree = ast.parse((ROOT / f"workflow/scripts/{script.replace('.', '/')}.py").read_text())
    assert ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    sys.exit(main())"
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert ast.unparse(main).startswith("def main(arguments: Sequence[str] | None=None) -> int:")
    ended = main.body[-1]
    assert isinstance(ended, ast.Return) and isinstance(ended.value, ast.Call)
    assert ast.unparse(ended.value.func) in ("run", "ended")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['script']} {' '.join(case['given'])}")
def test_a_wrong_input_is_one_message(
    case: dict[str, Any], wrong: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = end_of(case["script"], [word.format(**wrong) for word in case["given"]], capsys)
    assert code == case.get("code", 1), said
    assert len(said.splitlines()) == 1 or case.get("a_line_each"), said
    assert all(str(word).format(**wrong) in said for word in case["says"]), said


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted({*SCRIPTS} - {*BECOME}))
def test_any_script_survives_any_file(
    script: str, wrong: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every required flag is given the same wrong file, kind by kind: a sentence each, never a bug."""
    unforeseen = []
    for kind in ("none", "junk", "text", "json", "folder", "zip"):
        code, said = end_of(script, filled(script, wrong[kind], capsys), capsys)
        if code != 1 or "this is a bug" in said:
            unforeseen.append(f"{kind}: {code} {said[-300:]}")
    assert not unforeseen, "\n".join(unforeseen)


def filled(script: str, value: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Arguments that satisfy a script's parser: `value` wherever a text or path is required."""
    given: list[str] = []
    for _ in range(40):
        code, said = end_of(script, given, capsys)
        if code != 2:
            break
        if missing := re.search(r"the following arguments are required: (.*)$", said):
            for name in re.findall(r"\{[^}]*\}|[^ ,]+", missing[1]):
                choices = re.match(r"\{([^,}]+)", name)  # of a command in several parts the first
                given += [name, value] if name.startswith("-") else [choices[1] if choices else value]
        elif wrong := re.search(rf"argument ({FLAG}).*?(?:choose from '?([^',)]*)|$)", said, re.MULTILINE):
            given[given.index(wrong[1]) + 1] = wrong[2] or "1"
        elif single := re.search(rf"one of the arguments ({FLAG})", said):
            given += [single[1], value]
        else:
            break
    return given


def test_what_was_not_foreseen_is_a_message_too(tmp_path: Path) -> None:
    """Its traceback is kept where the message says."""
    with pytest.raises(KeyError) as caught:
        {}["x"]
    said = message_of(caught.value)
    assert said.startswith("Stopped by KeyError ('x') at test_wrong_inputs.py line ")
    assert said.endswith(": an input is not what it should be, or this is a bug of raven-bench.")
    kept = keep_traceback(caught.value)
    assert kept == ROOT / TRACEBACKS
    assert "KeyError: 'x'" in kept.read_text()[-2000:]
    assert message_of(FileNotFoundError(2, "No such file or directory", "a.txt")).startswith(
        "a.txt: no such file"
    )
