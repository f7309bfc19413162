"""What must be fetched, what a missing file looks like, and how a damaged one is refused."""

import hashlib
from pathlib import Path

import pytest

from workflow.resources import Resource, listed_resources, needed_resources
from workflow.scripts.fetch import fetch, prove
from workflow.settings import Suite, load_suite
from workflow.start import missing_resources, planned_prompts, start_banner

ROOT = Path(__file__).parents[2]


def suite(name: str) -> Suite:
    return load_suite(ROOT, [ROOT / f"workflow/config/{name}.yaml"], {})


def test_the_vbench_suite_says_in_one_screen_what_is_missing(tmp_path: Path) -> None:
    """Guards against a run that dies in its first job, or prints pages, when nothing was fetched."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/resources.yaml").write_bytes((ROOT / "workflow/resources.yaml").read_bytes())
    (tmp_path / "baselines").symlink_to(ROOT / "baselines")
    screen = missing_resources(tmp_path, suite("vbench"))
    lines = screen.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 160
    for word in (
        "make fetch",
        "gdhe17/Self-Forcing",
        "checkpoints/self_forcing_dmd.pt",
        "Wan2.1_VAE.pth",
        "MB",
        "lora.pt",
        "GB",
    ):
        assert word in screen
    for entry in needed_resources(tmp_path, suite("vbench")):
        (tmp_path / "resources" / entry.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "resources" / entry.path).touch()
    assert missing_resources(tmp_path, suite("vbench")) == ""


def test_every_fetched_path_of_the_config_is_a_resource() -> None:
    """Guards against a config that names a file which `make fetch` does not bring."""
    vbench = suite("vbench")
    brought = {f"resources/{entry.path}" for entry in needed_resources(ROOT, vbench)}
    named = {*vbench.weights.values(), vbench.model.codec, vbench.model.text}
    named |= {name for plan in vbench.train.values() for name in (plan.init, plan.teacher) if "/" in name}
    assert named <= brought


def test_embedded_suites_need_nothing() -> None:
    for name in ("toybox", "ci", "tiny"):
        assert needed_resources(ROOT, suite(name)) == []
        assert missing_resources(ROOT, suite(name)) == ""


def test_prompt_files_are_pinned_to_a_commit_and_a_hash() -> None:
    for entry in listed_resources(ROOT):
        if entry.group == "prompts":
            assert entry.sha256
            assert entry.url
            assert any(len(part) == 40 for part in entry.url.split("/"))


def test_a_file_is_fetched_proven_and_remembered(tmp_path: Path) -> None:
    """Guards against a damaged file, and against one that changes at its source after the first fetch."""
    source = tmp_path / "source.txt"
    source.write_text("first")
    entry = Resource(path="a/b.txt", group="g", url=source.as_uri(), sha256=None, size_mb=0, licence="x")
    folder = tmp_path / "resources"
    lock = fetch([entry], folder)
    assert lock == {"a/b.txt": hashlib.sha256(b"first").hexdigest()}
    assert sorted(path.name for path in (folder / "a").iterdir()) == ["b.txt"]
    (folder / "a/b.txt").write_text("other")
    with pytest.raises(ValueError, match="damaged or another version"):
        fetch([entry], folder)
    pinned = entry.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ValueError, match="expected 0000"):
        prove(pinned, folder, {})


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a//b", ".hidden"])
def test_paths_cannot_leave_the_folder(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Resource(path=path, group="g", url="https://example.org", sha256=None, size_mb=0, licence="x")


def test_the_banner_counts_what_will_be_made() -> None:
    banner = start_banner(suite("tiny"), planned_prompts(suite("tiny")))
    assert "4 lines, 4 distinct prompts, 4 clips per row" in banner
    assert "about 15 jobs" in banner
