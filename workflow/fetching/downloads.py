"""Bring files to resources/, resume what was cut, verify by sha256, and keep a lock of what was fetched.

A file is brought to resources/.incoming/, verified there, and only then put in place. A partial file stays in
.incoming/, and the next run goes on with it. resources/lock.json is written after every file: sha256, size
and resolved commit, which are required ever after. A git blob id, where one is declared, is verified too.
huggingface_hub names, authorises and transfers. Its own downloads are not resumed by another process, so the
partial file is ours.
"""

import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from evaluation.files import file_sha256, open_zip, write_text
from evaluation.vbench.weights import SCORER_WEIGHTS
from workflow.planning.duration import duration
from workflow.planning.resources import INITIALISATION_SHA256, Locked, Resource, read_lock, sizes_mb

INCOMING = ".incoming"
LOCK = "lock.json"
ASSUMED_MB_S = 50.0
"""Rate of the estimate before the start, in MB/s; the log then shows the measured one."""

REPORT_EVERY_S = 10.0

log = logging.getLogger("fetch")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSources:
    """Where files may come from."""

    mirror: Path | None = None
    """A folder that is asked first, laid out as <repo>/<file> or as resources/ is."""
    vbench_cache: Path | None = None
    """A folder that VBench filled: files of the scorer whose hash is pinned are taken from it."""
    offline: bool = False
    """Whether hub files come from the local hub cache and nothing opens a socket."""
    endpoint: str | None = None
    """Address of the hub, None for the official one."""
    cache: Path | None = None
    """The local hub cache, None for its usual place."""


class Planned(NamedTuple):
    """A file to bring."""

    entry: Resource
    source: Literal["resources", "mirror", "VBench's cache", "hub cache", "network", "nowhere"]
    local: Path | None
    """Where it lies already, None if it comes from the network."""

    @property
    def new_mb(self) -> float:
        """What it adds to the disk: nothing where it is a link to the same file of another row."""
        return 0.0 if self.source == "resources" else self.entry.whole_mb


class Remote(NamedTuple):
    """What a server says of a file."""

    url: str
    size: int | None
    sha256: str | None
    """Where the hub knows it, which is for large files."""
    revision: str | None
    tag: str | None
    """Changes with the content."""


class Fetched(NamedTuple):
    """What became of files."""

    hashes: dict[str, str]
    """Sha256 by path of every file that is there and verified."""
    errors: list[str]
    """One sentence for every file that is not."""


@dataclass(slots=True)
class Progress:
    """Says every few seconds how far a file and the whole fetch are. Sizes are in bytes."""

    total: float
    say: Callable[[str], None] = log.info
    clock: Callable[[], float] = time.monotonic
    name: str = ""
    size: float = 0.0
    done: float = 0.0
    file_done: float = 0.0
    received: float = 0.0
    started: float = 0.0
    said: float = 0.0

    def start_file(self, name: str, size: float, already: float) -> None:
        """Begin a file of which `already` bytes are here."""
        self.name, self.size, self.file_done = name, size, already
        self.done += already
        self.started = self.started or self.clock()
        self.said = self.clock()

    def add(self, count: int) -> None:
        """Count bytes that arrived."""
        self.file_done += count
        self.done += count
        self.received += count
        now = self.clock()
        if now - self.said >= REPORT_EVERY_S:
            self.said = now
            rate = self.received / max(now - self.started, 1e-3)
            left, all_left = max(self.size - self.file_done, 0) / rate, max(self.total - self.done, 0) / rate
            self.say(
                f"{self.name}: {_gb(self.file_done)} of {_gb(self.size)}, {rate / 1e6:.1f} MB/s, "
                f"{duration(left)} left; all files: {_gb(self.done)} of {_gb(self.total)}, "
                f"{duration(all_left)} left"
            )


class CountedFile(io.FileIO):
    """A binary file that counts what is written."""

    def __init__(self, path: Path, mode: str, count: Callable[[int], None]) -> None:
        super().__init__(path, mode)
        self.count = count

    def write(self, data: Any) -> int:
        """Write bytes and count them."""
        written = super().write(data)
        self.count(written)
        return written


def write_lock(folder: Path, lock: dict[str, Locked]) -> None:
    """Write resources/lock.json whole or not at all."""
    plain = TypeAdapter(dict[str, Locked]).dump_python({path: lock[path] for path in sorted(lock)})
    write_text(folder / LOCK, json.dumps(plain, indent=1) + "\n")


def verify_file(entry: Resource, folder: Path, lock: dict[str, Locked]) -> Locked:
    """What a fetched file is, for the lock. Raises ValueError if it is not the file that is pinned or was
    fetched first, or is known to be another one.
    """
    path, name, known = folder / entry.path, f"resources/{entry.path}", lock.get(entry.path)
    again = f"delete it and run `make fetch` again (the other files stay), {_or_mirror(entry)}"
    if known is not None and known.origin and known.origin != entry.origin:
        raise ValueError(
            f"{name} was fetched from {known.origin}, but now {entry.origin} is asked for; {again}."
        )
    if known is not None and known.size is not None and entry.sha256 in (None, known.sha256):
        _check_size(name, path.stat().st_size, known.size, again)
    return _verified(entry, path, name, known, again)


def _check_size(name: str, found: int, expected: int, again: str) -> None:
    if found != expected:
        raise ValueError(
            f"{name} has {found:,} bytes, expected {expected:,}: it is truncated or another file; {again}."
        )


def _verified(entry: Resource, path: Path, name: str, known: Locked | None, again: str) -> Locked:
    if entry.bytes is not None:
        _check_size(name, path.stat().st_size, entry.bytes, again)
    found = file_sha256(path)
    if found in INITIALISATION_SHA256 and entry.group == "weights":
        raise ValueError(
            f"{name} is byte for byte {INITIALISATION_SHA256[found]}, an initialisation checkpoint and not "
            f"the method's released weights; {again}."
        )
    expected = entry.sha256 or (known.sha256 if known else None)
    if expected is not None and found != expected:
        raise ValueError(
            f"{name} has sha256 {found}, expected {expected}: it is damaged, truncated or another version; "
            f"{again}."
        )
    if entry.git_blob is not None and (blob := git_blob_id(path)) != entry.git_blob:
        raise ValueError(
            f"{name} has git blob id {blob}, expected {entry.git_blob}: it is damaged, truncated or another "
            f"version; {again}."
        )
    for member, pinned in entry.members.items():
        if (inside := _member_sha256(path, member)) != pinned:
            raise ValueError(f"{name} has {member} with sha256 {inside}, expected {pinned}; {again}.")
    revision = entry.revision or (known.revision if known else None)
    return Locked(sha256=found, size=path.stat().st_size, origin=entry.origin, revision=revision)


def git_blob_id(path: Path) -> str:
    """The id under which git stores a file's content: sha1 over `blob <size in bytes>`, a zero byte and the
    content, as `git hash-object` prints it. Raises OSError if the file cannot be read.
    """
    with path.open("rb") as stream:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _member_sha256(archive: Path, member: str) -> str:
    """Sha256 of a file in a zip; "none" if it is not there or cannot be read, or the archive is no zip."""
    try:
        with open_zip(archive, str(archive)) as opened, opened.open(member) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except ValueError:
        return "none"


def verify_present(entries: Sequence[Resource], folder: Path, lock: dict[str, Locked]) -> Fetched:
    """Verify every file that is there, and tell all errors at once. Missing files are passed over."""
    found = Fetched({}, [])
    present = [entry for entry in entries if (folder / entry.path).is_file()]
    size = sum((folder / entry.path).stat().st_size for entry in present)
    if size > 1e9:
        log.info("verifying %s that are there, about %s at 1 GB/s", _gb(size), duration(size / 1e9))
    for entry in present:
        try:
            found.hashes[entry.path] = verify_file(entry, folder, lock).sha256
        except ValueError as error:
            found.errors.append(str(error))
    return found


def plan_fetch(
    entries: Sequence[Resource], folder: Path, lock: dict[str, Locked], sources: FetchSources
) -> list[Planned]:
    """Where each missing file would come from. Opens no socket."""
    here: dict[str, Path] = {}
    planned = []
    for entry in entries:
        target = folder / entry.path
        if target.is_file():
            here[entry.origin] = target
            continue
        planned.append(_source_of(entry, here, lock, sources))
        here.setdefault(entry.origin, target)
    return planned


def _source_of(
    entry: Resource, here: dict[str, Path], lock: dict[str, Locked], sources: FetchSources
) -> Planned:
    if entry.origin in here:
        return Planned(entry, "resources", here[entry.origin])
    if sources.mirror is not None:
        inside = [entry.path, f"{entry.repo}/{entry.file}"] if entry.repo else [entry.path]
        found = [sources.mirror / name for name in inside if (sources.mirror / name).is_file()]
        if found:
            return Planned(entry, "mirror", found[0])
    if (kept := _in_vbench_cache(entry, lock, sources)) is not None:
        return Planned(entry, "VBench's cache", kept)
    if not sources.offline:
        return Planned(entry, "network", None)
    cached = _cached(entry, lock, sources)
    return Planned(entry, "hub cache" if cached else "nowhere", cached)


def _in_vbench_cache(entry: Resource, lock: dict[str, Locked], sources: FetchSources) -> Path | None:
    """The very file, proven by its pinned hash, in VBench's own cache. Another one there is passed over."""
    pinned = entry.sha256 or (lock[entry.path].sha256 if entry.path in lock else None)
    if sources.vbench_cache is None or pinned is None or not entry.path.startswith(f"{SCORER_WEIGHTS}/"):
        return None
    kept = sources.vbench_cache / entry.path.removeprefix(f"{SCORER_WEIGHTS}/")
    if not kept.is_file():
        return None
    if file_sha256(kept) == pinned:
        return kept
    log.info("%s is another file than %s asks for, and is passed over", kept, entry.path)
    return None


def _cached(entry: Resource, lock: dict[str, Locked], sources: FetchSources) -> Path | None:
    """The file in the local hub cache, if it is there."""
    if entry.repo is None or entry.file is None:
        return None
    from huggingface_hub import try_to_load_from_cache  # only here: it is slow to import

    found = try_to_load_from_cache(
        entry.repo, entry.file, cache_dir=sources.cache, revision=_revision(entry, lock)
    )
    return Path(found) if isinstance(found, str) else None


def _revision(entry: Resource, lock: dict[str, Locked]) -> str | None:
    """The commit to take a file from: its own, that of an earlier fetch, or that of its repository."""
    if entry.revision is not None:
        return entry.revision
    if entry.path in lock:
        return lock[entry.path].revision
    repo = [
        one.revision for one in lock.values() if one.origin.startswith(f"{entry.repo} : ") and one.revision
    ]
    return repo[-1] if repo else None


def announce(planned: Sequence[Planned], total: int, folder: Path) -> str:
    """What is about to be brought: files, GB, sources, free disk, and the time at an assumed rate."""
    size = sum(plan.new_mb for plan in planned)
    network = sum(plan.entry.whole_mb for plan in planned if plan.source == "network")
    counts = Counter(plan.source for plan in planned)
    width = max(len(plan.entry.path) for plan in planned)
    lines = [
        f"  {plan.entry.path:<{width}}  {plan.new_mb:>9,.1f} MB  {plan.source}: "
        f"{plan.local or plan.entry.origin}"
        for plan in planned
    ]
    return (
        f"{len(planned)} of {total} files are missing, about {size / 1000:.1f} GB ("
        + ", ".join(f"{count} from {source}" for source, count in counts.items())
        + f"); {_gb(_free(folder))} of disk are free.\n"
        + "\n".join(lines)
        + (f"\nAbout {duration(network / ASSUMED_MB_S)} at {ASSUMED_MB_S:.0f} MB/s." if network else "")
    )


def plan_listing(entries: Sequence[Resource], folder: Path, sources: FetchSources) -> str:
    """Every file of a suite with its size, where it is or would come from, and its licence; then what is to
    be brought, disk and time, and the licences. Opens no socket.
    """
    planned = {plan.entry.path: plan for plan in plan_fetch(entries, folder, read_lock(folder), sources)}
    if not entries:
        return "This suite fetches nothing."
    where = {
        entry.path: f"{planned[entry.path].source}: {planned[entry.path].local or entry.origin}"
        if entry.path in planned
        else "here"
        for entry in entries
    }
    once = sizes_mb(entries)
    sizes = {
        entry.path: once[entry.path] if entry.path in planned else min(once[entry.path], entry.size_mb)
        for entry in entries
    }
    path, licence = (
        max(map(len, column)) for column in zip(*((e.path, e.licence) for e in entries), strict=True)
    )
    lines = [
        f"  {e.path:<{path}}  {sizes[e.path]:>9,.1f} MB  {e.licence:<{licence}}  {where[e.path]}"
        for e in entries
    ]
    licences: dict[str, list[float]] = {}
    for entry in entries:
        licences.setdefault(entry.licence, []).append(sizes[entry.path])
    size = sum(plan.new_mb for plan in planned.values())
    network = sum(plan.entry.whole_mb for plan in planned.values() if plan.source == "network")
    lines += [
        f"{len(entries)} files, {sum(sizes.values()) / 1000:.1f} GB; {len(planned)} of them, "
        f"{size / 1000:.1f} GB, are to be brought ({network / 1000:.1f} GB from the network, about "
        f"{duration(network / ASSUMED_MB_S)} at {ASSUMED_MB_S:.0f} MB/s); {_gb(_free(folder))} of disk "
        "are free.",
        "Licences: "
        + "; ".join(
            f"{name} ({len(under)} file{'s' if len(under) > 1 else ''}, {sum(under) / 1000:.1f} GB)"
            for name, under in sorted(licences.items(), key=lambda one: -sum(one[1]))
        )
        + ".",
        "Nothing was fetched.",
    ]
    return "\n".join(lines)


def fetch(entries: Sequence[Resource], folder: Path, sources: FetchSources | None = None) -> Fetched:
    """Bring what is missing, verify everything, and pin it in the lock after every file.

    An error of one file does not keep the others from being fetched. A network that does not answer ends the
    fetch. Raises ValueError before anything is brought if files are nowhere to be had, or will not fit on the
    disk.
    """
    sources, lock = sources or FetchSources(), read_lock(folder)
    fetched = _pin_present(entries, folder, lock)
    planned = plan_fetch(entries, folder, lock, sources)
    if not planned:
        return fetched
    log.info("%s", announce(planned, len(entries), folder))
    nowhere = [plan.entry for plan in planned if plan.source == "nowhere"]
    if nowhere:
        raise ValueError(
            f"{len(nowhere)} files are neither in the mirror nor in the local hub cache, and "
            "HF_HUB_OFFLINE forbids the network: "
            + ", ".join(f"{entry.path} ({entry.origin})" for entry in nowhere)
            + "; fetch them on a machine with network and pass that folder as MIRROR, nothing was started."
        )
    remotes = {}
    for plan in list(planned):
        if plan.source == "network":
            try:
                remotes[plan.entry.path] = ask(plan.entry, lock, sources)
            except _network_errors() as error:
                fetched.errors.append(explain(plan.entry, error))
                planned.remove(plan)
                if _no_network(error):
                    return fetched
            except ValueError as error:
                fetched.errors.append(str(error))
                planned.remove(plan)
    progress = Progress(total=_check_disk(planned, remotes, folder))
    for plan in planned:
        path, started = plan.entry.path, time.monotonic()
        try:
            lock[path] = bring(plan, folder, lock, remotes.get(path), progress)
        except ValueError as error:
            fetched.errors.append(str(error))
            continue
        except _network_errors() as error:
            fetched.errors.append(explain(plan.entry, error))
            if _no_network(error) or _errno(error) == errno.ENOSPC:
                break
            continue
        fetched.hashes[path] = lock[path].sha256
        write_lock(folder, lock)
        took = duration(time.monotonic() - started)
        log.info("%s is there and verified, from %s, %s", path, plan.source, took)
    return fetched


def _pin_present(entries: Sequence[Resource], folder: Path, lock: dict[str, Locked]) -> Fetched:
    """Verify what is there already, and pin files that were put there by hand."""
    found = verify_present(entries, folder, lock)
    new = [entry for entry in entries if entry.path in found.hashes and entry.path not in lock]
    for entry in new:
        size, sha256 = (folder / entry.path).stat().st_size, found.hashes[entry.path]
        lock[entry.path] = Locked(sha256=sha256, size=size, origin=entry.origin, revision=entry.revision)
        log.info("%s was there already; its hash is pinned now", entry.path)
    if new:
        write_lock(folder, lock)
    return found


def bring(
    plan: Planned, folder: Path, lock: dict[str, Locked], remote: Remote | None, progress: Progress
) -> Locked:
    """Bring one file, verify it and put it in place.

    Raises ValueError if it is not the expected file, which is then removed, and what huggingface_hub raises
    if it cannot be had.
    """
    entry, target = plan.entry, folder / plan.entry.path
    incoming = folder / INCOMING
    incoming.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if remote is not None:
        part = _download(entry, incoming, remote, progress)
    else:
        assert plan.local is not None, "what does not come from the network lies somewhere"
        if not plan.local.is_file():
            raise ValueError(
                f"resources/{entry.path} equals {plan.local}, which could not be fetched; run `make fetch` "
                "again."
            )
        part = _link_or_copy(plan.local, incoming / _part_name(entry, "local"))
    known = lock.get(entry.path)
    again = (
        "it was thrown away, run `make fetch` again; if that happens twice, the publisher changed the "
        f"file, {_or_mirror(entry)}"
    )
    try:
        locked = _verified(entry, part, f"The file brought for resources/{entry.path}", known, again)
        if remote is not None and remote.sha256 not in (None, locked.sha256):
            raise ValueError(
                f"The file brought for resources/{entry.path} has sha256 {locked.sha256}, but the hub says "
                f"{remote.sha256}: it was damaged on the way; {again}."
            )
    except ValueError:
        part.unlink()
        raise
    os.replace(part, target)
    revision = remote.revision if remote is not None else _cached_revision(plan)
    return locked.model_copy(update={"revision": locked.revision or revision})


def ask(entry: Resource, lock: dict[str, Locked], sources: FetchSources) -> Remote:
    """What the server says of a file. For a plain url nothing is asked: those files are small.

    Raises ValueError if it is of another size than the file that is wanted.
    """
    if entry.url is not None:
        return Remote(entry.url, None, None, None, None)
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # only here: slow to import

    assert entry.repo is not None, "a resource without url has a repo"
    assert entry.file is not None, "a resource without url has a file"
    url = hf_hub_url(entry.repo, entry.file, revision=_revision(entry, lock), endpoint=sources.endpoint)
    said = get_hf_file_metadata(url, endpoint=sources.endpoint, retry_on_errors=False)
    if entry.bytes is not None and said.size is not None:
        elsewhere = f"nothing was brought; see what changed there, {_or_mirror(entry)}"
        _check_size(f"{entry.repo} : {entry.file}", said.size, entry.bytes, elsewhere)
    sha256 = said.etag if said.etag is not None and re.fullmatch("[0-9a-f]{64}", said.etag) else None
    if said.commit_hash is not None:  # the very commit that was asked about, should the branch move meanwhile
        url = hf_hub_url(entry.repo, entry.file, revision=said.commit_hash, endpoint=sources.endpoint)
    return Remote(url, said.size, sha256, said.commit_hash, said.etag)


def _download(entry: Resource, incoming: Path, remote: Remote, progress: Progress) -> Path:
    """The whole file in .incoming/, going on with a partial one of the same content."""
    from huggingface_hub.file_download import http_get  # only here: slow to import
    from huggingface_hub.utils import build_hf_headers, disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    part = incoming / _part_name(entry, remote.tag or "url")
    for old in incoming.glob(f"{_part_name(entry, '*')}"):
        if old != part:
            old.unlink()  # the file changed at its source
    already = part.stat().st_size if part.exists() and remote.tag is not None else 0
    if remote.size is not None and already > remote.size:
        already = 0
    progress.start_file(entry.path, remote.size or entry.size_mb * 1e6, already)
    if already:
        log.info("%s: going on after %s that an earlier run brought", entry.path, _gb(already))
    else:
        log.info("%s: from %s", entry.path, entry.origin)
    headers = build_hf_headers() if entry.url is None else {}
    with CountedFile(part, "ab" if already else "wb", progress.add) as file:
        http_get(remote.url, file, resume_size=already, headers=headers, expected_size=remote.size)
    return part


def _part_name(entry: Resource, tag: str) -> str:
    kept = tag if tag == "*" else re.sub(r"[^0-9A-Za-z]", "", tag)[:16]
    return f"{entry.path.replace('/', '--')}.{kept}.part"


def _link_or_copy(source: Path, target: Path) -> Path:
    """A hard link, or a copy where the file system allows none."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def _cached_revision(plan: Planned) -> str | None:
    """The commit of a file of the hub cache, which is in its path."""
    if plan.source != "hub cache" or plan.local is None:
        return None
    parts = plan.local.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _check_disk(planned: Sequence[Planned], remotes: dict[str, Remote], folder: Path) -> float:
    """Bytes to bring from the network. Raises ValueError if all that is to be brought will not fit."""
    needed = network = 0.0
    for plan in planned:
        remote = remotes.get(plan.entry.path)
        size = (remote.size if remote else None) or plan.entry.size_mb * 1e6
        if remote is not None:
            network += size
            parts = (folder / INCOMING).glob(_part_name(plan.entry, remote.tag or "url"))
            size -= sum(part.stat().st_size for part in parts)
        elif plan.source == "resources" or (plan.local is not None and _same_device(plan.local, folder)):
            size = 0.0
        needed += max(size, 0.0)
    free = _free(folder)
    if needed > free:
        raise ValueError(
            f"The missing files need {_gb(needed)} and the disk of {folder} has {_gb(free)} free; free "
            f"{_gb(needed - free)} there or make {folder} a link to a larger disk, nothing was fetched."
        )
    return network


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _free(folder: Path) -> float:
    return float(shutil.disk_usage(_existing(folder)).free)


def _same_device(path: Path, folder: Path) -> bool:
    return path.resolve().stat().st_dev == _existing(folder).stat().st_dev


def _network_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # only here: slow to import

    return HTTPError, OSError


def _no_network(error: Exception) -> bool:
    """Whether the next file would fail alike, since there was no answer at all."""
    return _status(error) is None and _errno(error) is None


def _errno(error: Exception) -> int | None:
    """The number of a system's error, None of another error."""
    return error.errno if isinstance(error, OSError) else None


def _status(error: Exception) -> int | None:
    """The status that the server answered with, None where the connection itself failed."""
    from huggingface_hub.errors import HfHubHTTPError  # only here: slow to import

    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def explain(entry: Resource, error: Exception) -> str:
    """One sentence: file, origin, cause, what to do. Addresses are left out, since they may be signed."""
    status = _status(error)
    cause = (
        re.sub(r"https?://\S+", "its address", str(error).strip().split("\n")[0]).rstrip(".")
        or "no reason given"
    )
    todo = "run `make fetch` again, it goes on where it was"
    if status in (401, 403):
        cause, todo = (
            f"the server refuses it ({status})",
            f"accept its licence at the hub page of {entry.repo} and set HF_TOKEN, or correct its name",
        )
    elif status in (404, 410):
        cause, todo = (
            f"it does not exist there ({status})",
            "correct workflow/resources.yaml or the baseline's YAML",
        )
    elif status is not None:
        cause = f"the server answers with {status}"
    elif _errno(error) == errno.ENOSPC:
        cause, todo = "the disk is full", "make room and run `make fetch` again, it goes on where it was"
    return (
        f"resources/{entry.path} could not be fetched from {entry.origin}: {type(error).__name__}, "
        f"{cause}; {todo}, {_or_mirror(entry)}."
    )


def _or_mirror(entry: Resource) -> str:
    inside = f"{entry.repo}/{entry.file}" if entry.repo else entry.path
    return f"or give a folder that has {inside} as MIRROR"


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
