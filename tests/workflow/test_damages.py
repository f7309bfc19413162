"""Damages between stages: after each the report is the same, or one sentence says what is wrong."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.damages import DAMAGES, KINDS, STAGES, Damage, Kind
from tests.workflow.project import ROOT, command_line, copy_project

pytestmark = pytest.mark.slow

NOT_COMPARED = ("measured", "stages", "starts")
"""Parts of run.json that say what the run cost, how large its files are, and when it was started: a log whose
last line may be cut.
"""


class Finished(NamedTuple):
    """A finished run of the suite `tiny`, every file that a stage read or wrote, and what the stages ran."""

    folder: Path
    files: dict[Path, bytes]
    commands: list[tuple[str, str, list[str]]]
    """Stage, module and flags, in the order of the stages."""

    def run(self, first: str) -> int:
        """Run a stage and all behind it, until one fails; the last exit code."""
        for stage, module, flags in self.commands:
            if STAGES.index(stage) >= STAGES.index(first):
                code = int(importlib.import_module(module).main(flags))
                if code:
                    return code
        return 0

    def shown(self) -> Mapping[str, Any]:
        """What the report is made from, without what the run cost."""
        record = json.loads((self.folder / "run.json").read_text())
        return {key: value for key, value in record.items() if key not in (*NOT_COMPARED, "checksum")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """The run, its stages' commands as Snakemake printed them."""
    project = tmp_path_factory.mktemp("damages") / "project"
    copy_project(project, (ROOT / "workflow/config/tiny.yaml").read_text())
    command = [sys.executable, "-m", "snakemake", *command_line("tiny", "--printshellcmds")]
    answer = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=580)
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said[-4000:]
    commands = []
    for module, flags in re.findall(r"python -m (\S+) (.*?) > \S+ 2>&1", said):
        stage = module.split(".")[-1]
        if stage in STAGES:
            commands.append((stage, module, shlex.split(flags)))
    commands.sort(key=lambda one: STAGES.index(one[0]))
    assert {stage for stage, *_ in commands} == {*STAGES}
    folder = project / "results/tiny"
    files = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {"states", "checkpoint"} & {*path.parts}
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        yield Finished(folder, files, commands)


@pytest.fixture(scope="module")
def right(finished: Finished) -> Mapping[str, Any]:
    """What an undamaged run shows; all of its stages give the same again, here in one process."""
    assert finished.run("check") == 0
    return finished.shown()


CASES = [
    pytest.param(kind, damage, first, id=f"{name}, {damage.name}, {when}")
    for name, kind in KINDS.items()
    for damage in DAMAGES
    if not damage.texts or not kind.file.endswith(".mp4")
    for when, first in {"before it is read": kind.stage, "when all is done": "report"}.items()
    if (when, first) != ("when all is done", kind.stage)
]


@pytest.mark.parametrize(("kind", "damage", "first"), CASES)
def test_a_damage_is_one_sentence_or_changes_nothing(
    finished: Finished,
    right: Mapping[str, Any],
    kind: Kind,
    damage: Damage,
    first: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Never another table: that is what 22 such damages gave before."""
    for path, content in finished.files.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
    file, sibling = finished.folder / kind.file, finished.folder / kind.sibling
    content, other = file.read_bytes(), sibling.read_bytes()
    damaged = damage.change(content, other)
    if damage.both:
        sibling.write_bytes(content)
    file.unlink() if damaged is None else file.write_bytes(damaged)
    capsys.readouterr()
    code = finished.run(first)
    said = capsys.readouterr().err.splitlines()
    if code == 0:
        assert finished.shown() == right
    else:
        assert code == 1
        assert " evaluation.command " in said[-1], "the last line is the message"
        assert not any("traceback" in line.lower() for line in said)
