"""Random checkpoints and VBench's own list of prompts, as files that `raven-bench fetch` brings."""

import json
import re
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from evaluation.vbench.weights import AMT_FILE, CHECKPOINTS, RAFT_MEMBER, RAFT_ZIP, SCORER_WEIGHTS, place_of
from tests.vbench import tiny


def lay_as_fetched(cache: Path, folder: Path, names: Iterable[str]) -> None:
    """Put the checkpoints `names` (below weights/vbench) of a random cache where a fetch puts them.

    What the cache does not have is code of DINO's repository that its stand-in does not import: empty files.
    """
    made = {AMT_FILE: CHECKPOINTS["amt"][0]}
    for name in names:
        target = folder / SCORER_WEIGHTS / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == RAFT_ZIP:
            with zipfile.ZipFile(target, "w") as archive:
                archive.write(cache / CHECKPOINTS["raft"][0], RAFT_MEMBER)
        elif (source := cache / (made.get(name) or place_of(name) or "")).is_file():
            shutil.copyfile(source, target)
        else:
            assert name.endswith(".py"), f"the random cache has no {name}"
            target.touch()


def lay_prompts(folder: Path) -> None:
    """VBench's list as its own package has it, in folder/prompts; extended texts are the short ones."""
    (package,) = tiny.PYTHON.parents[1].glob("lib/python*/site-packages/vbench")
    content = (package / "VBench_full_info.json").read_bytes()
    target = folder / "prompts"
    target.mkdir(parents=True, exist_ok=True)
    (target / "VBench_full_info.json").write_bytes(content)
    lines = "\n".join(entry["prompt_en"] for entry in json.loads(content)) + "\n"
    for name in ("all_dimension.txt", "all_dimension_extended.txt"):
        (target / name).write_text(lines, encoding="utf-8")


def unpin(project: Path) -> None:
    """Take the sha256 out of a copy's list of fetched files: stand-ins have others."""
    listed = project / "workflow/resources.yaml"
    text = re.sub(r"^  sha256: .*$", "  sha256: null", listed.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^  (members|git_blob): .*\n", "", text, flags=re.MULTILINE)
    listed.write_text(text)
