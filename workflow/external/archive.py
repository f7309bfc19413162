"""Finished clips made elsewhere: what a folder or zip offers, guarded, and which clip each file is.

A zip is a stranger's: no absolute names, no "..", no links, no doubles, no more than the limits below.
Nothing heavy is imported; the Snakefile asks here for the files of a folder.
"""

import shutil
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from evaluation.archives import unsafe_member
from evaluation.files import open_zip, zip_errors
from evaluation.records import Prompt
from evaluation.shards import Sample
from workflow.external.numbered import (
    files_by_number,
    lines_of_suite,
    match_numbers,
    unrendered_names,
)

MAX_CLIP_MB = 256
MAX_ZIP_GB = 256
MAX_MEMBERS = 200_000
MAX_RATIO = 100  # unpacked to packed bytes of a member over 1 MiB; mp4 hardly compresses
SHOWN_NAMES = 10
SHOWN_OTHERS = 5


class Match(NamedTuple):
    """Which file is which clip."""

    files: dict[str, str]
    """Names of files by clip id."""
    missing: list[str]
    """Ids of clips without a file."""
    extra: list[str]
    """Names of files that are no clip of the suite."""
    naming: str
    """How the files were read: by clip id, by VBench's names, or by lines of a list."""


def original_files(
    path: Path, names: Collection[str] | None = None, numbered_by: str | None = None
) -> list[Path]:
    """The files that an import is made from: the zip itself, or of a folder the named files, None for the mp4
    files directly in it; and the list that they are numbered by.
    """
    if path.is_dir() and names is not None:
        return [path / name for name in sorted(names)]
    clips = [path]
    if path.is_dir():
        clips = sorted(file for file in path.iterdir() if is_clip_name(file.name) and file.is_file())
    if numbered_by and any(file.is_file() for file in clips):  # clips may go once they were taken in
        clips.append(Path(numbered_by))
    return clips


def other_entries(path: Path) -> str | None:
    """What lies in a folder or zip and is not read, for whoever misses clips; None if nothing does."""
    if path.is_dir():
        read = set(original_files(path))
        others = sorted(file for file in path.iterdir() if file not in read and file.name[0] != ".")
        names = [f"{file.name[:80]!r}{_kind(file)}" for file in others]
    else:
        taken = {member.header_offset for member in zip_members(path).values()}
        with open_zip(path, str(path)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
        names = sorted(repr(m.filename[:80]) for m in members if m.header_offset not in taken)
    if not names:
        return None
    shown = ", ".join(names[:SHOWN_OTHERS])
    more = f" and {len(names) - SHOWN_OTHERS} more" if len(names) > SHOWN_OTHERS else ""
    return f"only .mp4 files {'directly in it ' * path.is_dir()}are read, not {shown}{more}"


def _kind(file: Path) -> str:
    """What is written behind the name of an entry that is no regular file."""
    if file.is_dir():
        return "/"
    if file.is_symlink() and not file.exists():
        return " (a link to nothing)"
    return "" if file.is_file() else " (no regular file)"


def is_clip_name(name: str) -> bool:
    """Whether a file name is that of a clip; hidden files are not (macOS writes ._x.mp4 beside x.mp4)."""
    return name.lower().endswith(".mp4") and not name.startswith(".")


def zip_members(path: Path, is_clip: Callable[[str], bool] = is_clip_name) -> dict[str, zipfile.ZipInfo]:
    """The clips of a zip by file name without folders. Raises ValueError, naming an unsafe member."""
    with open_zip(path, str(path)) as archive:
        members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"{path} holds {len(members)} files, more than {MAX_MEMBERS}; pack only the clips.")
    for member in members:
        if reason := unsafe_member(member, max_mb=MAX_CLIP_MB, max_ratio=MAX_RATIO):
            raise ValueError(
                f"{path}: member {member.filename[:200]!r} {reason}, so nothing of it was unpacked; make "
                "the zip again."
            )
    total = sum(member.file_size for member in members)
    if total > MAX_ZIP_GB * 2**30:
        raise ValueError(
            f"{path} unpacks to {total / 2**30:.0f} GiB, more than {MAX_ZIP_GB}; split the suite or import "
            "a folder."
        )
    clips = [
        m
        for m in members
        if not m.is_dir() and is_clip(PurePosixPath(m.filename).name) and "__MACOSX" not in m.filename
    ]
    doubled = [
        name for name, times in Counter(PurePosixPath(m.filename).name for m in clips).items() if times > 1
    ]
    if doubled:
        shown = ", ".join(map(repr, doubled[:SHOWN_NAMES]))
        raise ValueError(
            f"{path} holds {len(doubled)} file names more than once ({shown}), so it is not clear which is "
            "meant; keep one of each."
        )
    return {PurePosixPath(member.filename).name: member for member in clips}


def match_names(
    names: Sequence[str], samples: Sequence[Sample], lines: Mapping[int, Prompt] | None = None
) -> Match:
    """Which file is which clip, by the names that fit more files: `<clip_id>.mp4`, or VBench's
    `<short prompt>-<sample>.mp4`. Where none fits, or with `lines`, by a line's number (numbered.py).

    lines: the prompt of each line of the list by which the files are numbered; None for the suite's own.
    Raises ValueError if VBench's way is used and two prompts of the suite have the same short text.
    """
    ours = {f"{sample.clip_id}.mp4": sample.clip_id for sample in samples}
    vbench = {_plain(f"{sample.prompt.prompt}-{sample.index}.mp4"): sample.clip_id for sample in samples}
    fitting = [sum(_plain(name) in known for name in names) for known in (ours, vbench)]
    if lines is not None or (not any(fitting) and files_by_number(names)):
        return _match_lines(names, samples, lines)
    by_text = fitting[1] > fitting[0]
    if by_text and len(vbench) < len(samples):
        texts = Counter(sample.prompt.prompt for sample in samples if sample.index == 0)
        same = next(text for text, times in texts.items() if times > 1)
        raise ValueError(
            f"Two prompts of the suite have the short text {same!r}, so that <short prompt>-<sample>.mp4 "
            "does not say which clip a file is; name the files <clip_id>.mp4."
        )
    known = vbench if by_text else ours
    files: dict[str, str] = {}
    extra: list[str] = []
    for name in names:
        clip = known.get(_plain(name))
        if clip is None or clip in files:
            extra.append(name)
        else:
            files[clip] = name
    missing = [sample.clip_id for sample in samples if sample.clip_id not in files]
    return Match(files, missing, extra, "<short prompt>-<sample>.mp4" if by_text else "<clip_id>.mp4")


def _match_lines(
    names: Sequence[str], samples: Sequence[Sample], lines: Mapping[int, Prompt] | None
) -> Match:
    if lines is None:
        lines = lines_of_suite(list({sample.prompt.id: sample.prompt for sample in samples}.values()))
    files, naming = match_numbers(names, samples, lines)
    known = {*files.values(), *unrendered_names(names, lines)}
    missing = [sample.clip_id for sample in samples if sample.clip_id not in files]
    return Match(files, missing, [name for name in names if name not in known], naming)


def samples_hint(match: Match, samples: Sequence[Sample]) -> str | None:
    """What to do if only further samples of still prompts are missing, None if other clips are missing too.

    People score VBench on 5 clips of each prompt, filtered or not.
    """
    missing = {sample.clip_id: sample for sample in samples if sample.clip_id in set(match.missing)}
    kept = {sample.prompt.keep for sample in missing.values()}
    if not missing or any(
        sample.index < (sample.prompt.keep or sample.index + 1) for sample in missing.values()
    ):
        return None
    asked = max(sample.prompt.samples for sample in missing.values())
    return (
        f"only samples from number {max(filter(None, kept))} on of still prompts are missing: the suite "
        f"wants {asked} of each, of which the static filter keeps {max(filter(None, kept))}; if you have "
        f"no more, set static_samples: {max(filter(None, kept))} under `prompts` in a suite's file of your "
        "own, for all its rows"
    )


def _plain(name: str) -> str:
    """A name in one Unicode form, its suffix in small letters: macOS writes accents as characters of their
    own, and cameras write .MP4.
    """
    stem, dot, suffix = unicodedata.normalize("NFC", name).rpartition(".")
    return f"{stem}{dot}{suffix.lower()}"


def bring_all(path: Path, match: Match, folder: Path) -> None:
    """Copy or unpack every matched file to `folder`/<clip_id>.mp4.

    Raises ValueError if the disk is too full, or a member is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        _require_space(folder, sum((path / name).stat().st_size for name in match.files.values()))
        for clip, name in match.files.items():
            shutil.copyfile(path / name, folder / f"{clip}.mp4")
        return
    members = zip_members(path, set(match.files.values()).__contains__)
    _require_space(folder, sum(members[name].file_size for name in match.files.values()))
    with open_zip(path, str(path)) as archive:
        for clip, name in match.files.items():
            with (
                zip_errors(f"{path}: member {name!r}"),
                archive.open(members[name]) as packed,
                (folder / f"{clip}.mp4").open("wb") as target,
            ):
                shutil.copyfileobj(packed, target, 2**20)


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"The clips need {needed >> 20} MiB, but {folder} has {free >> 20} MiB left; make room."
        )
