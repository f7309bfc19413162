"""One archive of a finished run for publication: report, records, scores of every clip, logs, and hashes.

`<suite>/bundle.json` in it is the BundleIndex. The same run gives the same bytes: members are sorted and have
no times. Paths of the machine, its name and secrets are taken out of logs and of what no hash proves.
"""

import hashlib
import os
import re
import socket
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from evaluation.archives import unsafe_member
from evaluation.code_state import code_state
from evaluation.files import file_sha256, open_zip, text_lines, utf8_text, written_whole, zip_errors
from evaluation.finished_run import FinishedRun, official_path, second_path
from evaluation.records import (
    PlainText,
    Record,
    Sha256,
    parse,
    with_checksum,
    without_checksum,
)
from reports.scrubbing import scrub, scrub_paths

INDEX = "bundle.json"
TOLD = (
    "starts.jsonl", "replay.json", "accepted.jsonl", "votes/*.json", "fetch/*.json", "vbench/*.json",
    "code/*.json", "train/*/machine.json", "weights/*/*.json", "weights/own-files/*/record.json",
    *(f"benchmarks/{'*/' * depth}*.tsv" for depth in range(4)),
    *(f"logs/{'*/' * depth}*.log" for depth in range(4)),
)  # fmt: skip
"""What a run tells of itself, where it is there: no hash in other files proves these."""
PROVEN = (
    "aggregate/*.json", "aggregate/*.csv", "long/*.json",
    "prompts/prompts.jsonl", "report.html", "run.json", "table.*",
    "pairs.csv", "chunks.csv", "dimensions.tex", "methods.*", "verdict.txt", "citations.bib",
    "imported/*.json", "leaderboard/*.zip",
    "train/*/train.json", "train/*/metrics.jsonl", "train/*/heldout.json",
)  # fmt: skip
"""Beside the records of the rows, what `raven-bench verify` compares byte by byte or computes again."""
MOST_MEMBERS = 2_000_000
MAX_MEMBER_MB = 4096
MOST_DEFLATED = 1100
"""What deflate can do at most; sizes are what guards here."""
MAX_UNPACKED_GB = 32
"""Of all members but clips, which are hashed where they lie."""
_BLOCK = 1 << 20
_CLIP = re.compile(r"clips/[a-z0-9_]+/mp4/[a-z0-9_]+-[0-9]+\.mp4")
_ANY_PATH = re.compile(r"(?<![\w.~/<>-])/(?!(?:usr|etc|proc|sys|dev)/)(?:[^\s/'\"():,;<>]+/)+")


class BundleIndex(Record):
    """bundle.json: what a bundle holds."""

    schema_version: Literal[1] = 1
    suite: PlainText
    subset: PlainText | None
    """As in ScoresTable."""
    commit: PlainText
    """Of the checkout that packed it."""
    dirty: bool | None
    clips: Literal["inside", "hashes alone"]
    """The manifests have the hash of every clip either way."""
    scrubbed: tuple[PlainText, ...]
    """Members out of which something of the machine was taken."""
    files: dict[PlainText, Sha256]
    """Every other member, by its place in the results folder."""


class Packed(NamedTuple):
    """What `pack` wrote."""

    contents: BundleIndex
    size: int
    """Bytes."""
    sha256: Sha256


def bundle_files(folder: Path, run: FinishedRun) -> dict[str, Path]:
    """The files of a run by their place in a bundle, but clips. run: what was read of the folder."""
    found = {path for pattern in (*TOLD, *PROVEN) for path in folder.glob(pattern) if path.is_file()}
    found |= {folder / f"filter/{row}.json" for row in run.table.inputs.filtered}
    for row, names in run.table.inputs.results.items():
        scores = (folder / f"scores/{row}/{name}" for name in names)
        found |= {path.with_name(path.name + end) for path in scores for end in (".json", ".result.json")}
        found |= {folder / f"clips/{row}/{name}.jsonl" for name in ("manifest", "timings")}
    for result in run.second:
        path = folder / second_path(result.row, result.second, result.dimension)
        found |= {path, official_path(path)}
    named = {path.relative_to(folder).as_posix(): path for path in found if path.is_file()}
    return dict(sorted(named.items()))


def clip_paths(folder: Path, run: FinishedRun) -> dict[str, Path]:
    """The clips of a run by their place in a bundle. Raises FileNotFoundError naming the first that is not
    there.
    """
    named = {
        f"clips/{row}/{clip.file}": folder / "clips" / row / clip.file
        for row, clips in run.manifests.items()
        for clip in clips
    }
    for path in named.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; run the report again, which makes it anew, or pack without --clips."
            )
    return dict(sorted(named.items()))


def pack(
    folder: Path, run: FinishedRun, root: Path, output: Path, *, clips: bool, keep_paths: bool = False
) -> Packed:
    """Write the bundle of a finished run, whole or not at all. root: the repository.

    keep_paths: leave paths of this machine in files that a hash proves; without it they are a ValueError with
    the file's name. Raises what `clip_paths` does.
    """
    files, videos = bundle_files(folder, run), clip_paths(folder, run) if clips else {}
    told = {path for pattern in TOLD for path in folder.glob(pattern)}
    roots = [str(root), str(root.resolve()), str(folder.resolve())]
    hashes: dict[str, Sha256] = {}
    scrubbed: list[str] = []
    state = code_state(root)
    with written_whole(output) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        for name, path in files.items():
            content = shown = path.read_bytes()
            if path in told:
                shown = _scrubbed(content, name, roots)
            elif not keep_paths and path.suffix != ".zip":
                _refuse_paths(content, path, roots)
            if shown != content:
                scrubbed.append(name)
            hashes[name] = hashlib.sha256(shown).hexdigest()
            archive.writestr(_member(run, name, zipfile.ZIP_DEFLATED), shown)
        for name, path in videos.items():
            hashes[name] = file_sha256(path)
            with path.open("rb") as source, archive.open(_member(run, name), "w") as target:
                while block := source.read(_BLOCK):
                    target.write(block)
        check_bundled_clips(hashes, run)
        index = BundleIndex(
            suite=run.table.suite,
            subset=run.table.subset,
            commit=state.commit,
            dirty=state.dirty,
            clips="inside" if clips else "hashes alone",
            scrubbed=tuple(scrubbed),
            files=dict(sorted(hashes.items())),
        )
        text = with_checksum(index.model_dump_json(indent=1) + "\n")
        archive.writestr(_member(run, INDEX, zipfile.ZIP_DEFLATED), text)
    return Packed(index, output.stat().st_size, file_sha256(output))


def check_bundled_clips(hashes: Mapping[str, Sha256], run: FinishedRun) -> None:
    """Compare the clips of a bundle with the manifests. hashes: of its members, by their place; without clips
    among them there is nothing to compare. Raises ValueError naming the first that is another or not there.
    """
    inside = {name for name in hashes if _CLIP.fullmatch(name)}
    said = {f"clips/{row}/{clip.file}": clip.sha256 for row, clips in run.manifests.items() for clip in clips}
    for name in sorted(inside ^ said.keys()) if inside else ():
        raise ValueError(f"{name} is {'no clip' if name in inside else 'missing, a clip'} of the manifests.")
    for name in sorted(inside):
        if hashes[name] != said[name]:
            raise ValueError(f"{name} is not the clip that its row's manifest has the hash of.")


def unpack(bundle: Path, folder: Path) -> BundleIndex:
    """Verify every hash of a bundle, and unpack all but its clips below `folder`.

    Raises ValueError naming the first member that is not safe, not what the index says, not there or too
    many, and FileNotFoundError without a bundle.
    """
    if not bundle.is_file():
        raise FileNotFoundError(f"{bundle} is no file; name a zip that raven-bench bundle wrote.")
    with open_zip(bundle, str(bundle)) as archive:
        members = _members(archive.infolist(), bundle)
        index = parse(BundleIndex, _index_text(archive, members, bundle), f"{bundle}: {INDEX}")
        if names := sorted(members.keys() ^ {*index.files, INDEX}):
            known = "is not there" if names[0] in index.files else f"is not in its {INDEX}"
            raise ValueError(f"{bundle}: {names[0]} {known}; fetch the bundle again.")
        for name, sha256 in index.files.items():
            target = None if _CLIP.fullmatch(name) else folder / name
            if _read(archive, members[name], target, f"{bundle}: {name}") != sha256:
                raise ValueError(
                    f"{bundle}: {name} is not the file that its {INDEX} has the hash of; it was changed or "
                    "damaged: fetch the bundle again."
                )
    return index


def _members(listed: Sequence[zipfile.ZipInfo], bundle: Path) -> dict[str, zipfile.ZipInfo]:
    """The members of a bundle by their place in the results folder."""
    if len(listed) > MOST_MEMBERS:
        raise ValueError(f"{bundle} holds {len(listed)} members, more than {MOST_MEMBERS}; it is no bundle.")
    for member in listed:
        if reason := unsafe_member(member, max_mb=MAX_MEMBER_MB, max_ratio=MOST_DEFLATED):
            raise ValueError(
                f"{bundle}: member {member.filename[:200]!r} {reason}, so nothing of it was unpacked."
            )
    tops = {member.filename.partition("/")[0] for member in listed}
    named = {member.filename.partition("/")[2]: member for member in listed}
    if len(tops) != 1 or len(named) != len(listed) or INDEX not in named:
        raise ValueError(
            f"{bundle} is no bundle of one run: expected one folder with a {INDEX} and every name once; name "
            "a zip that raven-bench bundle wrote."
        )
    size = sum(member.file_size for name, member in named.items() if not _CLIP.fullmatch(name))
    if size > MAX_UNPACKED_GB << 30:
        raise ValueError(
            f"{bundle} unpacks to {size >> 30} GiB, more than {MAX_UNPACKED_GB}; it is no bundle."
        )
    return named


def _index_text(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], bundle: Path) -> str:
    where = f"{bundle}: {INDEX}"
    with zip_errors(where):
        text, intact = without_checksum(utf8_text(archive.read(members[INDEX]), where))
    if not intact:
        raise ValueError(f"{where} is not what its checksum says; fetch the bundle again.")
    return text


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path | None, where: str) -> Sha256:
    """The sha256 of a member, which is written to `target` if there is one."""
    digest = hashlib.sha256()
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    with zip_errors(where), archive.open(member) as source, Path(target or os.devnull).open("wb") as written:
        while block := source.read(_BLOCK):
            digest.update(block)
            written.write(block)
    return digest.hexdigest()


def _member(run: FinishedRun, name: str, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """A member without a time. The folder's name is the suite's, in letters that every system has."""
    top = re.sub(r"[^A-Za-z0-9_-]", "_", run.table.suite)
    member = zipfile.ZipInfo(f"{top}/{name}", (1980, 1, 1, 0, 0, 0))
    member.compress_type = method
    member.external_attr = 0o644 << 16
    return member


def _scrubbed(content: bytes, name: str, roots: Sequence[str]) -> bytes:
    """What a run tells, without anything of the machine; records get their checksums anew."""
    text = utf8_text(content, name)
    if name.endswith(".json"):
        return _scrubbed_record(text, roots).encode()
    if name.endswith(".jsonl"):
        return "".join(f"{_scrubbed_record(line, roots)}\n" for line in text_lines(text)).encode()
    text = _without_paths(text, roots)
    for place, shown in ((os.path.realpath(sys.prefix), ".venv"), (tempfile.gettempdir(), "<temporary>")):
        text = text.replace(place, shown)
    host = socket.gethostname()
    text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])", "<host>", text) if host else text
    return _ANY_PATH.sub("<path>/", text).encode()


def _scrubbed_record(text: str, roots: Sequence[str]) -> str:
    body, checked = without_checksum(text)
    shown = _without_paths(body, roots)
    return text if shown == body else with_checksum(shown) if checked is not None else shown


def _without_paths(text: str, roots: Sequence[str]) -> str:
    for root in roots:
        text = scrub(text, root)
    return text


def _refuse_paths(content: bytes, path: Path, roots: Sequence[str]) -> None:
    """Raise ValueError if a file that a hash proves names a path of this machine."""
    text = utf8_text(content, str(path))
    for root in roots:
        shown = scrub_paths(text, root)
        if shown != text:
            first = next(n for n, (a, b) in enumerate(zip(text, shown + "\0", strict=False)) if a != b)
            found = re.split(r"[\s\"'<>,;]", text[first : first + 200])[0]
            raise ValueError(
                f"{path} names {found!r}, a path of this machine that cannot be taken out, since a hash "
                "proves the file; name that file by a path inside the repository and run again, or pack with "
                "--keep-paths."
            )
