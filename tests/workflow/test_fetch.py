"""What must be fetched, what a missing file looks like, and how a damaged one is refused; a hub of our own on
127.0.0.1.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from evaluation.files import file_sha256, write_text
from models.checkpoints.containers import write_safetensors
from models.checkpoints.released import Release, check_released
from models.config import WanConfig
from models.wan import Wan
from tests.models.test_released import sparse
from workflow.external.changed_files import changes_note, remember_fetched, remembered
from workflow.fetching.checkpoints import describe_checkpoints
from workflow.fetching.checksums import verified_sha256
from workflow.fetching.downloads import (
    FetchSources,
    Progress,
    announce,
    fetch,
    git_blob_id,
    plan_fetch,
    plan_listing,
    verify_file,
    verify_present,
)
from workflow.planning.banner import planned_prompts, start_banner
from workflow.planning.cost import estimated_cost
from workflow.planning.missing_clips import clip_warnings
from workflow.planning.paths import folders_of, verified_folders
from workflow.planning.resources import (
    INITIALISATION_SHA256,
    TRAINING_PROMPTS,
    Resource,
    listed_resources,
    missing_resources,
    needed_resources,
    read_lock,
    released_weights,
    sizes_mb,
)
from workflow.planning.suite import Suite
from workflow.planning.suite_file import load_suite
from workflow.scripts.fetch import sources_of

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
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 230  # OpenAI puts the sha256 into the address
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


def test_a_start_notices_a_fetched_file_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and time are compared, and the content only where they differ; the proof says when it was made,
    and a job hashes what it opens, also where neither differs.
    """
    monkeypatch.chdir(tmp_path)
    tiny = suite("tiny")
    folders, (rows, _) = folders_of(tiny, None), verified_folders(tiny)
    model = tmp_path / "resources/weights/x.pt"
    write_text(model, "weights")
    sha256 = file_sha256(model)
    remember_fetched(rows, Path("resources"), {"weights/x.pt": sha256})
    (facts,) = remembered(rows).values()
    assert (facts.size, facts.sha256) == (7, sha256)
    made = datetime.fromisoformat(facts.proven)
    assert abs((datetime.now(UTC) - made).total_seconds()) < 60
    opened = Path("resources/weights/x.pt")
    assert verified_sha256(opened, {"weights/x.pt": sha256}) == sha256

    def said() -> list[str]:
        return [line for line in clip_warnings(folders, tiny, {}) if "Fetched" in line]

    assert said() == [] and not changes_note(rows).exists()
    os.utime(model, (1, 1))
    assert said() == [] and not changes_note(rows).exists(), "touched"
    kept = model.stat()
    write_text(model, "WEIGHTS")
    assert said() == ["Fetched files have changed (resources/weights/x.pt); they will be verified again."]
    assert changes_note(rows).is_file()
    os.utime(model, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert said() == [], "of the size and time that were proven, so that nothing differs for a start"
    with pytest.raises(
        ValueError, match=r"x\.pt has sha256 \w+, but \w+ when it was fetched; remove it and run"
    ):
        verified_sha256(opened, {"weights/x.pt": sha256})


def test_every_fetched_path_of_the_config_is_a_resource() -> None:
    """Guards against a config that names a file which `make fetch` does not bring."""
    vbench = suite("vbench")
    brought = {f"resources/{entry.path}" for entry in needed_resources(ROOT, vbench)}
    named = {*vbench.weights.values(), vbench.model.codec, vbench.model.text}
    for plan in vbench.train.values():
        named |= {name for name in (*plan.networks, plan.prompts) if name and "/" in name}
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


COMMIT = "c" * 40
TEACHER = "weights/wan/diffusion_pytorch_model.safetensors"
SECRET = "hf_secrettoken"


class Hub(ThreadingHTTPServer):
    """A hub: files by "<repo>/<file>". cut: bytes after which a connection breaks, once; broken: status of
    every later request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.broken: int | None = None
        self.wrong_sha256 = False
        self.cdn: Hub | None = None
        self.tokens: list[str | None] = []
        self.asked: list[tuple[str, str, str]] = []

    @property
    def sources(self) -> FetchSources:
        return FetchSources(endpoint=f"http://127.0.0.1:{self.server_port}")


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        hub, start = self.server, self.headers.get("Range", "")
        repo, _, rest = self.path.lstrip("/").partition("/resolve/")
        hub.asked.append((self.command, self.path, start))
        hub.tokens.append(self.headers.get("Authorization"))
        if body and hub.cdn is not None:
            self.send_response(302)
            self.send_header(
                "Location", f"http://127.0.0.1:{hub.cdn.server_port}{self.path}?Signature=signed"
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = hub.files.get(f"{repo}/{rest.partition('?')[0].partition('/')[2]}")
        if hub.broken or content is None:
            self.send_error(hub.broken or 404)
            return
        first = int(start.removeprefix("bytes=").rstrip("-")) if start else 0
        digest = hashlib.sha256(content).hexdigest()
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{"0" * 64 if hub.wrong_sha256 else digest}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", str(len(content) - first))
        if start:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        if hub.cut is not None:
            self.wfile.write(content[first : hub.cut])
            hub.cut, hub.broken = None, 503
            self.close_connection = True
        else:
            self.wfile.write(content[first:])


def served() -> Hub:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(
        "huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000
    )  # 10 MB: a cut loses what is not a whole one
    server = served()
    yield server
    server.shutdown()
    server.server_close()


def entry_of(name: str, **changes: object) -> Resource:
    plain = Resource(
        path=f"weights/{name}",
        group="wan",
        repo="org/model",
        file=name,
        sha256=None,
        size_mb=0.1,
        licence="x",
    )
    return plain.model_copy(update=changes)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def content_of(seed: int, size: int = 100_000) -> bytes:
    return hashlib.shake_128(bytes([seed])).digest(size)


def test_a_file_is_fetched_proven_and_pinned(tmp_path: Path, hub: Hub) -> None:
    """Guards against a damaged file, one that changes at its source after the first fetch, and a mix of two
    commits.
    """
    hub.files = {"org/model/a.bin": content_of(1), "org/model/b.bin": content_of(2)}
    entries, folder = [entry_of("a.bin"), entry_of("b.bin")], tmp_path / "resources"
    fetched = fetch(entries[:1], folder, hub.sources)
    assert fetched.errors == [] and fetched.hashes == {
        "weights/a.bin": hashlib.sha256(content_of(1)).hexdigest()
    }
    lock = read_lock(folder)["weights/a.bin"]
    assert (lock.revision, lock.size, lock.origin) == (COMMIT, 100_000, "org/model : a.bin")
    hub.asked.clear()
    assert fetch(entries, folder, hub.sources).errors == []
    assert [path for _, path, _ in hub.asked] == [f"/org/model/resolve/{COMMIT}/b.bin"] * 2
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "lock.json", "weights/a.bin", "weights/b.bin",
    ]  # fmt: skip
    (folder / "weights/a.bin").unlink()
    hub.files["org/model/a.bin"] = content_of(3)
    (fault,) = fetch(entries, folder, hub.sources).errors
    assert "expected" in fault and "MIRROR" in fault
    assert not (folder / "weights/a.bin").exists() and (folder / "weights/b.bin").exists()


def test_a_file_of_another_size_is_not_brought(tmp_path: Path, hub: Hub) -> None:
    """Guards against a sibling of the wanted file, whose hash nobody states, and against its gigabytes."""
    hub.files = {"org/model/a.bin": content_of(1)}
    (fault,) = fetch([entry_of("a.bin", bytes=99_999)], tmp_path, hub.sources).errors
    assert "org/model : a.bin has 100,000 bytes, expected 99,999" in fault and "MIRROR" in fault
    assert [method for method, *_ in hub.asked] == ["HEAD"] and list(tmp_path.rglob("*.bin")) == []
    assert fetch([entry_of("a.bin", bytes=100_000)], tmp_path, hub.sources).errors == []
    put(tmp_path / "mirror/org/model/b.bin", content_of(2))
    mirrored = FetchSources(mirror=tmp_path / "mirror", offline=True)
    (fault,) = fetch([entry_of("b.bin", bytes=5)], tmp_path, mirrored).errors
    assert "has 100,000 bytes, expected 5" in fault and not (tmp_path / "weights/b.bin").exists()


def test_a_fetch_goes_on_where_it_was_cut(tmp_path: Path, hub: Hub) -> None:
    """Guards against 11 GB that start again from zero: the partial file outlives the process and a Range
    request continues it.
    """
    hub.files = {"org/model/a.bin": content_of(1), "org/model/b.bin": content_of(2)}
    hub.cut = 60_000
    entries, folder = [entry_of("a.bin"), entry_of("b.bin")], tmp_path / "resources"
    faults = fetch(entries, folder, hub.sources).errors
    assert "weights/a.bin could not be fetched from org/model : a.bin" in faults[0] and "503" in faults[0]
    parts = list((folder / ".incoming").iterdir())
    assert [part.stat().st_size for part in parts if "a.bin" in part.name] == [60_000]
    hub.broken = None
    hub.asked.clear()
    assert fetch(entries, folder, hub.sources).errors == []
    assert ("GET", f"/org/model/resolve/{COMMIT}/a.bin", "bytes=60000-") in hub.asked
    assert (folder / "weights/a.bin").read_bytes() == content_of(1)
    assert list((folder / ".incoming").iterdir()) == []


def test_a_partial_file_of_another_version_is_not_continued(tmp_path: Path, hub: Hub) -> None:
    """Guards against a file put together from two versions."""
    hub.files, hub.cut, folder = {"org/model/a.bin": content_of(1)}, 60_000, tmp_path / "resources"
    fetch([entry_of("a.bin")], folder, hub.sources)
    hub.files, hub.broken = {"org/model/a.bin": content_of(2)}, None
    assert fetch([entry_of("a.bin")], folder, hub.sources).errors == []
    assert (folder / "weights/a.bin").read_bytes() == content_of(2)


def test_one_bad_file_keeps_the_others(tmp_path: Path, hub: Hub) -> None:
    """Every fault is one sentence with what to do, all in one run; what is good is kept."""
    hub.files = {"org/model/b.bin": content_of(2), "org/model/c.bin": content_of(3)}
    wrong = entry_of("c.bin", sha256="0" * 64)
    faults = fetch([entry_of("a.bin"), wrong, entry_of("b.bin")], tmp_path, hub.sources).errors
    assert len(faults) == 2 and (tmp_path / "weights/b.bin").is_file()
    assert "weights/a.bin could not be fetched" in faults[0] and "does not exist there (404)" in faults[0]
    assert "weights/c.bin has sha256" in faults[1] and f"expected {'0' * 64}" in faults[1]
    assert all("\n" not in fault and fault.endswith(".") for fault in faults)
    assert list(read_lock(tmp_path)) == ["weights/b.bin"]
    hub.files["org/model/d.bin"], hub.wrong_sha256 = content_of(4), True
    (fault,) = fetch([entry_of("d.bin")], tmp_path, hub.sources).errors
    assert "but the hub says 0000" in fault


def test_no_network_and_no_access_are_one_sentence(
    tmp_path: Path, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """Guards against a page of traceback, a retry of 30 files, and tokens in logs."""
    caplog.set_level(logging.DEBUG)
    hub.files = {"org/model/a.bin": content_of(1)}
    hub.broken = 403
    (fault,) = fetch([entry_of("a.bin")], tmp_path, hub.sources).errors
    assert "403" in fault and "HF_TOKEN" in fault and "org/model" in fault
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = FetchSources(endpoint=f"http://127.0.0.1:{closed.getsockname()[1]}")
    faults = fetch([entry_of("a.bin"), entry_of("b.bin")], tmp_path, nowhere).errors
    assert (
        len(faults) == 1
        and "weights/a.bin could not be fetched" in faults[0]
        and "run `make fetch` again" in faults[0]
    )
    hub.broken = None
    assert fetch([entry_of("a.bin")], tmp_path, hub.sources).errors == []
    assert SECRET not in caplog.text


def test_a_token_goes_to_the_hub_alone(tmp_path: Path, hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """Guards against a token sent to the storage that the hub redirects to, and against signed addresses in
    faults.
    """
    caplog.set_level(logging.INFO, logger="fetch")
    hub.cdn = served()
    hub.files = hub.cdn.files = {"org/model/a.bin": content_of(1)}
    assert fetch([entry_of("a.bin")], tmp_path, hub.sources).errors == []
    assert set(hub.tokens) == {f"Bearer {SECRET}"} and hub.cdn.tokens == [None]
    hub.cdn.broken = 500
    (fault,) = fetch([entry_of("a.bin")], tmp_path / "again", hub.sources).errors
    assert "the server answers with 500" in fault and "Signature" not in fault
    hub.cdn.shutdown()
    hub.cdn.server_close()


def test_every_wrong_file_is_listed_at_once(tmp_path: Path, hub: Hub) -> None:
    """Truncated, changed, taken from elsewhere, an initialisation: one sentence each, and the good file stays
    pinned.
    """
    names = ["cut", "changed", "moved", "good"]
    hub.files = {f"org/model/{name}": content_of(i) for i, name in enumerate(names)}
    entries = [entry_of(name) for name in names]
    assert fetch(entries, tmp_path, hub.sources).errors == []
    put(tmp_path / "weights/cut", content_of(0)[:500])
    put(tmp_path / "weights/changed", content_of(9))
    entries[2] = entry_of("moved", repo="other/model")
    proven = verify_present(entries, tmp_path, read_lock(tmp_path))
    assert list(proven.hashes) == ["weights/good"]
    assert "has 500 bytes, expected 100,000: it is truncated" in proven.errors[0]
    assert "has sha256" in proven.errors[1] and "was fetched from org/model : moved" in proven.errors[2]
    assert all("delete it and run `make fetch` again" in fault for fault in proven.errors)


def test_a_zip_is_proven_by_the_file_in_it_that_is_used(tmp_path: Path) -> None:
    """Guards RAFT's weights, whose hash is published while that of the zip they come in is not."""
    archive = tmp_path / "weights/models.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("models/a.pth", b"right")
        packed.writestr("models/b.pth", b"another")
    entry = entry_of("models.zip", members={"models/a.pth": hashlib.sha256(b"right").hexdigest()})
    assert verify_file(entry, tmp_path, {}).sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    for member in ("models/b.pth", "models/c.pth"):
        wrong = entry.model_copy(update={"members": {member: "0" * 64}})
        with pytest.raises(ValueError, match=rf"models\.zip has {member} with sha256 .*, expected 0000"):
            verify_file(wrong, tmp_path, {})
    put(archive, b"<html>")
    with pytest.raises(ValueError, match="with sha256 none, expected"):
        verify_file(entry, tmp_path, {})


def test_a_file_is_proven_by_its_id_in_git(tmp_path: Path) -> None:
    """RAVEN's prompts have no published sha256. Ids as `git hash-object` prints them; a wrong file of a
    mirror is refused and not kept, and the sha256 of the right one is pinned.
    """
    for content, blob in (
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
    ):
        assert git_blob_id(put(tmp_path / "one", content)) == blob
    entry, sources = entry_of("list.txt", git_blob=blob), FetchSources(mirror=tmp_path, offline=True)
    put(tmp_path / "weights/list.txt", b"hello\r\n")
    (error,) = fetch([entry], tmp_path / "resources", sources).errors
    assert f"expected {blob}" in error and "has git blob id " in error
    assert not (tmp_path / "resources/weights/list.txt").exists()
    put(tmp_path / "weights/list.txt", b"hello\n")
    fetched = fetch([entry], tmp_path / "resources", sources)
    assert fetched.hashes == {"weights/list.txt": hashlib.sha256(b"hello\n").hexdigest()}
    with pytest.raises(ValueError, match="git_blob"):
        Resource.model_validate({**entry.model_dump(), "git_blob": "3c4288"})


def test_the_lists_that_rows_train_on_are_fetched() -> None:
    """RAVEN's own for both recipes, pinned to a commit and a blob; another by naming it; nothing for released
    weights, and no name that nothing brings.
    """

    def lists(of: Suite) -> list[str]:
        return [e.path for e in needed_resources(ROOT, of) if e.group == TRAINING_PROMPTS]

    vbench = suite("vbench")
    own = "prompts/vidprom_motion_30725_v3_w95_action_subject.txt"
    assert {plan.prompts for plan in vbench.train.values()} == {f"resources/{own}"}
    assert lists(vbench) == [own]
    (entry,) = [e for e in listed_resources(ROOT) if e.path == own]
    assert entry.git_blob == "3c4288ec6036290609ac37d9425a689a90e40251" and entry.licence == "CC BY-NC 4.0"
    assert entry.url is not None and "YanzuoLu/RAVEN/3bacebd2a33114986fd5c6e3de1e1053401935ca/" in entry.url

    def trained_on(name: str) -> Suite:
        other = vbench.train["cm_grpo"].model_copy(update={"prompts": name})
        return vbench.model_copy(update={"train": vbench.train | {"cm_grpo": other}})

    assert lists(trained_on("resources/prompts/vidprom_filtered_extended.txt")) == [
        own, "prompts/vidprom_filtered_extended.txt",
    ]  # fmt: skip
    assert lists(trained_on("mine.txt")) == [own]
    with pytest.raises(ValueError, match=r"train\.cm_grpo\.prompts .* which nothing fetches; .*vidprom_filt"):
        needed_resources(ROOT, trained_on("resources/prompts/vidprom.txt"))
    released = load_suite(ROOT, [ROOT / "workflow/config/vbench.yaml"], {"weights": "released"})
    assert lists(released) == []


def test_a_known_initialisation_is_recognised_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INITIALISATION_SHA256, hashlib.sha256(b"x").hexdigest(), "somebody's ode_init.pt")
    put(tmp_path / "weights/a.bin", b"x")
    assert (
        "byte for byte somebody's ode_init.pt"
        in verify_present([entry_of("a.bin", group="weights")], tmp_path, {}).errors[0]
    )
    assert verify_present([entry_of("a.bin", group="train")], tmp_path, {}).errors == []


@pytest.mark.parametrize("layout", ["org/model/a.bin", "weights/a.bin"])
def test_a_mirror_is_linked_and_proven(tmp_path: Path, layout: str) -> None:
    """Both layouts; no copy where a link will do; a wrong file in the mirror is refused and left as it is."""
    inside = put(tmp_path / "mirror" / layout, content_of(1))
    folder, sources = tmp_path / "resources", FetchSources(mirror=tmp_path / "mirror", offline=True)
    entry = entry_of("a.bin", sha256=hashlib.sha256(content_of(1)).hexdigest())
    assert plan_fetch([entry], folder, {}, sources)[0].source == "mirror"
    assert fetch([entry], folder, sources).errors == []
    assert (folder / "weights/a.bin").samefile(inside)
    wrong = entry_of("a.bin", sha256="0" * 64)
    (fault,) = fetch([wrong], tmp_path / "again", sources).errors
    assert "expected 0000" in fault and inside.read_bytes() == content_of(1)


def test_vbench_s_own_cache_is_a_mirror(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only files that their pinned hash proves: another one there, or one that nothing pins, comes from its
    source.
    """
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(tmp_path / "cache"))
    assert sources_of(None).vbench_cache is None, "no such folder"
    kept = put(tmp_path / "cache/clip_model/a.pt", content_of(1))
    sources, folder = sources_of(None), tmp_path / "resources"
    assert sources.vbench_cache == tmp_path / "cache"
    pinned = hashlib.sha256(content_of(1)).hexdigest()
    path = {"path": "weights/vbench/clip_model/a.pt"}
    proven = entry_of("a.pt", sha256=pinned).model_copy(update=path)
    assert plan_fetch([proven], folder, {}, sources)[0].source == "VBench's cache"
    offline = FetchSources(offline=True, vbench_cache=sources.vbench_cache)
    assert fetch([proven], folder, offline).errors == []
    assert (folder / proven.path).samefile(kept)
    for other in (entry_of("a.pt", sha256="0" * 64), entry_of("a.pt", sha256=None)):
        moved = other.model_copy(update=path)
        assert plan_fetch([moved], tmp_path / "new", {}, sources)[0].source == "network"


def cache_file(cache: Path, content: bytes) -> Path:
    """A file as huggingface_hub keeps it: snapshots of commits, and a name for the newest."""
    model = cache / "models--org--model"
    put(model / "refs" / "main", COMMIT.encode())
    return put(model / "snapshots" / COMMIT / "a.bin", content)


def test_offline_takes_the_hub_cache_and_opens_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a compute node that hangs on a connection, and lists everything absent at once."""

    def no_socket(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    cache_file(tmp_path / "cache", content_of(1))
    sources, folder = FetchSources(offline=True, cache=tmp_path / "cache"), tmp_path / "resources"
    assert fetch([entry_of("a.bin")], folder, sources).errors == []
    assert read_lock(folder)["weights/a.bin"].revision == COMMIT
    with pytest.raises(
        ValueError, match=r"2 files are neither .*weights/b.bin \(org/model : b.bin\), weights/c.bin .*MIRROR"
    ):
        fetch([entry_of("a.bin"), entry_of("b.bin"), entry_of("c.bin")], folder, sources)


def test_one_file_of_two_rows_is_brought_once(tmp_path: Path, hub: Hub) -> None:
    hub.files = {"org/model/a.bin": content_of(1)}
    twice = [entry_of("a.bin"), entry_of("a.bin", path="weights/other/a.bin")]
    large = [entry.model_copy(update={"size_mb": 5000.0}) for entry in twice]
    planned = plan_fetch(large, tmp_path, {}, hub.sources)
    assert "about 5.0 GB (1 from network, 1 from resources)" in announce(planned, 2, tmp_path)
    assert "2 files, 5.0 GB; 2 of them, 5.0 GB, are to be" in plan_listing(large, tmp_path, hub.sources)
    assert fetch(twice, tmp_path, hub.sources).errors == []
    assert [method for method, _, _ in hub.asked] == ["HEAD", "GET"]
    assert (tmp_path / "weights/other/a.bin").samefile(tmp_path / "weights/a.bin")


def test_wans_file_is_counted_once_for_both_teachers(tmp_path: Path) -> None:
    """The base model of the training group and two rows name it: 5.7 GB, not 17."""
    wan = [e for e in listed_resources(ROOT) if e.file == "diffusion_pytorch_model.safetensors"][:1]
    rows = [entry for row in ("wan_teacher", "wan_teacher_rcm") for entry in released_weights(ROOT, row)]
    assert len({entry.path for entry in wan + rows}) == 3
    sizes = sizes_mb(wan + rows)
    assert list(sizes.values()) == [wan[0].size_mb, 0.0, 0.0]
    (project := tmp_path / "project").mkdir()
    suite = load_suite(ROOT, [ROOT / "workflow/config/teacher.yaml"], {})
    total = sum(sizes_mb(needed := needed_resources(ROOT, suite)).values())
    assert f"(about {total / 1000:.1f} GB)" in missing_resources(project, suite, needed=needed)


def test_the_start_says_what_it_costs_and_stops_if_it_will_not_fit(tmp_path: Path, hub: Hub) -> None:
    """40 GB at 50 MB/s are 13 minutes; a file bigger than the disk stops before its first byte."""
    hub.files = {"org/model/a.bin": b"x"}
    free = shutil.disk_usage(tmp_path).free
    entries = [entry_of("a.bin", size_mb=40_000.0)]
    text = announce(plan_fetch(entries, tmp_path, {}, hub.sources), 3, tmp_path)
    assert (
        "1 of 3 files are missing, about 40.0 GB (1 from network)" in text
        and "About 13 minutes at 50 MB/s." in text
    )
    assert "of disk are free" in text and "org/model : a.bin" in text
    mirror = FetchSources(mirror=tmp_path / "mirror")
    huge = Resource(
        path="a", group="g", url="http://127.0.0.1:9/x", sha256=None, size_mb=free / 1e6 + 5000, licence="x"
    )
    with pytest.raises(
        ValueError, match=r"need .* GB and the disk of .* free; free 5\.\d GB there .* nothing was fetched"
    ):
        fetch([huge], tmp_path, mirror)


def test_progress_says_how_long_it_will_take() -> None:
    """Rates count what arrived in this run, not what an earlier one left."""
    now, said = [0.0], []
    progress = Progress(total=400e6, say=said.append, clock=lambda: now[0])
    progress.start_file("a", 300e6, 100e6)
    for _ in range(4):
        now[0] += 5.0
        progress.add(25_000_000)
    assert (
        said[0] == "a: 150.0 MB of 300.0 MB, 5.0 MB/s, 30 s left; all files: 150.0 MB of 400.0 MB, 50 s left"
    )
    assert len(said) == 2


def test_old_locks_are_read(tmp_path: Path) -> None:
    """Version 0.1 wrote the hash alone."""
    put(tmp_path / "lock.json", json.dumps({"weights/a.bin": "0" * 64}).encode())
    put(tmp_path / "weights/a.bin", b"x")
    assert "expected 0000" in verify_present([entry_of("a.bin")], tmp_path, read_lock(tmp_path)).errors[0]
    put(tmp_path / "lock.json", b"{")
    with pytest.raises(ValueError, match=r"cannot be read as JSON .*fetch"):
        read_lock(tmp_path)


def test_checkpoints_are_described_and_mixed_up_ones_refused(tmp_path: Path) -> None:
    """What `fetch --verify` records; an adapter where a student belongs is named before anything starts."""
    vbench = suite("vbench")
    chosen = vbench.model_copy(update={"weights": {"self_forcing": vbench.weights["self_forcing"]}})
    base = put(tmp_path / "weights/self_forcing/self_forcing_dmd.pt", b"")
    lora = {f"base_model.model.blocks.0.ffn.0.lora_{ab}.weight": torch.zeros(2, 2) for ab in "AB"}
    torch.save({"generator_ema": lora}, base)
    torch.save(
        {"encoder.conv1.weight": torch.zeros(2).bfloat16()}, put(tmp_path / "weights/wan/Wan2.1_VAE.pth", b"")
    )
    entries = [e for e in needed_resources(ROOT, vbench) if (tmp_path / e.path).exists()]
    found = describe_checkpoints(ROOT, chosen, entries, {e.path: "0" * 64 for e in entries}, tmp_path)
    assert "only the 2 tensors of a LoRA" in found.errors[0] and len(found.errors) == 1
    vae = found.described["weights/wan/Wan2.1_VAE.pth"]
    assert (vae["flavour"], vae["dtypes"], vae["sha256"]) == ("other", {"bfloat16": 1}, "0" * 64)
    path = "resources/weights/raven/raven_model.safetensors"
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Wan(WanConfig()).state_dict().items()}
    sparse(put(tmp_path / path.removeprefix("resources/"), b""), shapes)
    raven = describe_checkpoints(
        ROOT, vbench.model_copy(update={"weights": {"raven": path}}), [], {}, tmp_path
    )
    assert raven.errors == [] and raven.described["weights/raven/raven_model.safetensors"]["tensors"] == 825
    assert (
        json.loads(json.dumps(raven.described))["weights/raven/raven_model.safetensors"]["config"]["dim"]
        == 1536
    )
    write_safetensors(tmp_path / "w.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(ValueError, match="825 tensors: 825 missing"):
        check_released(Release(path=tmp_path / "w.safetensors", key=None, config=WanConfig()))


def test_make_fetch_says_what_is_absent_offline(tmp_path: Path) -> None:
    """The command itself, HF_HUB_OFFLINE set: one sentence names every file, exit code 1, no traceback."""
    for name in ("workflow", "baselines", "models", "evaluation"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "workflow.scripts.fetch", "--config", "workflow/config/vbench.yaml"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "neither in the mirror nor in the local hub cache" in done.stderr
    for word in (
        "spiece.model",
        "diffusion_pytorch_model-00006-of-00006.safetensors",
        "free",
        "GB",
        "lora.pt",
    ):
        assert word in done.stderr


def test_the_real_models_are_listed_file_by_file() -> None:
    """Guards against a tokenizer or a shard that nobody fetches; commits and hashes are pinned for all of
    Wan's own files.
    """
    listed = {entry.path: entry for entry in listed_resources(ROOT)}
    assert sum(path.startswith("weights/wan/google/umt5-xxl/") for path in listed) == 4
    assert sum("-of-00006" in path for path in listed) == 6
    for entry in listed.values():
        if entry.repo is not None and entry.repo.startswith("Wan-AI/"):
            assert entry.revision is not None and len(entry.revision) == 40
            assert entry.sha256 or entry.path.endswith(".index.json")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a//b", ".hidden"])
def test_paths_cannot_leave_the_folder(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Resource(path=path, group="g", url="https://example.org", sha256=None, size_mb=0, licence="x")


def test_the_banner_counts_what_will_be_made() -> None:
    banner = start_banner(suite("tiny"), planned_prompts(suite("tiny")))
    assert "4 lines, 4 distinct prompts, 4 clips per row" in banner
    assert estimated_cost(suite("tiny"), planned_prompts(suite("tiny"))).jobs == 15


@pytest.mark.slow
def test_the_command_fetches_verifies_and_records(tmp_path: Path) -> None:
    """`make fetch MIRROR=...`, then the rule's --verify: both records are written; a truncated file is one
    sentence and exit 1.
    """
    for name in ("baselines", "models", "evaluation"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    listing = [
        entry for entry in listed_resources(ROOT) if entry.path in ("weights/wan/Wan2.1_VAE.pth", TEACHER)
    ]
    plain = [{**entry.model_dump(exclude_none=True), "sha256": None} for entry in listing]
    put(tmp_path / "workflow/resources.yaml", json.dumps(plain).encode())
    config = (ROOT / "workflow/config/vbench.yaml").read_text(encoding="utf-8")
    start, end = config.index("weights:\n"), config.index("train:\n")
    config = config[:start] + "weights: {}\n" + config[end:]
    config = config.replace("[prompts, wan, train]", "[wan]").replace("resources: [scorer]", "resources: []")
    config = config.replace("suite: vbench", "suite: few").replace("resources/prompts/vidprom", "vidprom")
    config = re.sub(r"baselines: \[.*\]", "baselines: [raven, cm_grpo]", config)
    put(tmp_path / "workflow/config/few.yaml", config.encode())
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Wan(WanConfig()).state_dict().items()}
    mirror = tmp_path / "mirror/Wan-AI/Wan2.1-T2V-1.3B"
    sparse(put(mirror / "diffusion_pytorch_model.safetensors", b""), shapes)
    torch.save({"decoder.conv1.weight": torch.zeros(2)}, mirror / "Wan2.1_VAE.pth")

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "workflow.scripts.fetch",
            "--config",
            "workflow/config/few.yaml",
            *flags,
        ]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    records = ("--verify", "--output", "r/resources.json", "--checkpoints", "r/checkpoints.json")
    fetched = run("--mirror", "mirror")
    assert fetched.returncode == 0 and "2 from mirror" in fetched.stderr, fetched.stderr
    verified = run(*records)
    assert verified.returncode == 0, verified.stderr
    held = json.loads((tmp_path / "r/checkpoints.json").read_text(encoding="utf-8"))
    hashes = json.loads((tmp_path / "r/resources.json").read_text(encoding="utf-8"))
    assert held[TEACHER]["tensors"] == 825 and held["weights/wan/Wan2.1_VAE.pth"]["tensors"] == 1
    assert {path: one["sha256"] for path, one in held.items()} == hashes
    os.truncate(mirror / "diffusion_pytorch_model.safetensors", 5000)
    refused = run(*records)
    assert refused.returncode == 1 and "(has 5,000 of" in refused.stderr and "Traceback" not in refused.stderr
