"""What the names of somebody's clips say: which prompt and which sample each is, with or without a list.

*standard*: most names are `<prompt>-<k>` of the benchmark's own list. *custom*: any names; prompts come from
a list, or from the names where all of them are words with blanks, or are not known.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from evaluation.files import control_character
from evaluation.prompts import is_safe_name
from evaluation.records import Prompt, clip_id

VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ts")
NUMBERED = re.compile(r"^(?P<text>.+)-(?P<index>[0-9]{1,4})$")
WORD_OF_NAME = re.compile(r"(?:^| )[^\W\d_]+(?=[ ,.;:!?]|$)")
"""A word among blanks. A name of three of them is read as a text."""
NAMED_CLIPS_SHOWN = 5
LONGEST_ID = 80


class NamedClips(NamedTuple):
    """Which files are which clips."""

    mode: str
    """Either standard or custom."""
    texts: str
    """Where the prompts come from, in words."""
    prompts: tuple[Prompt, ...]
    """With as many samples as every row has, in the list's order, or that of the names."""
    files: dict[str, dict[str, str]]
    """row -> clip id -> name of the file."""
    notes: tuple[str, ...]
    """What a reader should know: files that are left out, and why."""


def is_video_name(name: str) -> bool:
    """Whether a file name is that of a video; hidden files are not."""
    return name.lower().endswith(VIDEO_ENDINGS) and not name.startswith(".")


def stem_of(name: str) -> str:
    """A file's name without its ending, in one Unicode form."""
    return unicodedata.normalize("NFC", PurePosixPath(name).name.rpartition(".")[0])


def clips_by_name(
    names: Mapping[str, Sequence[str]],
    standard: Sequence[Prompt],
    listed: Sequence[Prompt] | None,
    dimensions: Sequence[str],
    *,
    common: bool,
    most: int | None,
) -> NamedClips:
    """Read the names of all rows. names: row -> names of its video files, of which none is doubled.

    standard: the benchmark's own prompts; listed: those of the user's list, None without one. dimensions: of
    prompts of which no list says any. common: whether clips that not every row has are left out; else they
    are an error. most: samples of a prompt that the scorer looks at, None for any number.

    Raises ValueError in one sentence if names cannot be read, or rows do not have the same clips.
    """
    every = [stem_of(name) for found in names.values() for name in found]
    if listed is not None:
        rows = {row: _by_prompt(found, listed, aliases=True) for row, found in names.items()}
        return _joined("custom", "your list", listed, rows, names, common=common, most=most)
    rows = {row: _by_prompt(found, standard) for row, found in names.items()}
    taken = sum(len(files) for found in rows.values() for files in found.values())
    if 2 * taken > len(every):
        whole = "the benchmark's own list"
        return _joined("standard", whole, standard, rows, names, common=common, most=most)
    prompts, origin = _from_names(every, dimensions)
    rows = {row: _by_prompt(found, prompts, aliases=True) for row, found in names.items()}
    made = _joined("custom", origin, prompts, rows, names, common=common, most=most)
    if taken:
        return made._replace(
            notes=(
                f"{taken} of {len(every)} names are those of the benchmark's own prompts, too few to read "
                "all names so.",
                *made.notes,
            )
        )
    return made


FilesByPrompt = dict[str, dict[int, str]]
"""Prompt id -> sample -> name of the file."""


def _by_prompt(names: Iterable[str], prompts: Sequence[Prompt], *, aliases: bool = False) -> FilesByPrompt:
    """The files of each prompt by sample. aliases: whether ids name files too, and a name without a number is
    sample 0.
    """
    known: dict[str, str] = {}
    for prompt in prompts:
        known.setdefault(unicodedata.normalize("NFC", prompt.prompt), prompt.id)
    if aliases:
        for prompt in prompts:
            known.setdefault(prompt.id, prompt.id)
    found: FilesByPrompt = {}
    for name in names:
        stem = stem_of(name)
        prompt_id, sample = (known.get(stem) or known.get(id_of(stem)) if aliases else None), 0
        if prompt_id is None and (numbered := NUMBERED.match(stem)):
            prompt_id, sample = known.get(numbered["text"]), int(numbered["index"])
        if prompt_id is not None:
            found.setdefault(prompt_id, {}).setdefault(sample, name)
    return found


def _from_names(stems: Sequence[str], dimensions: Sequence[str]) -> tuple[list[Prompt], str]:
    """Prompts of clips without a list: the names themselves where all are texts."""
    distinct = sorted(set(stems))
    texts = {stem: (found["text"] if (found := NUMBERED.match(stem)) else stem) for stem in distinct}
    if all(
        len(WORD_OF_NAME.findall(text)) >= 3 and is_safe_name(text, 1) and control_character(text) is None
        for text in texts.values()
    ):
        ids = {text: id_of(text) for text in texts.values()}
        return [_prompt(ids[text], text, dimensions) for text in sorted(ids)], "the names of the files"
    ids = {stem: id_of(stem) for stem in distinct}
    return [_prompt(ids[s], ids[s] if control_character(s) else s, dimensions) for s in distinct], ""


def _prompt(name: str, text: str, dimensions: Sequence[str]) -> Prompt:
    return Prompt(
        id=name, prompt=text, extended=text, dimensions=tuple(dimensions), samples=1, keep=None, facts={}
    )


def id_of(text: str, longest: int = LONGEST_ID) -> str:
    """An id that is the text where it can be, and tells it from every other: what is not kept, as beyond
    `longest` characters, is in a hash behind.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:longest]
    if plain == text:
        return plain
    return f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:6]}".lstrip("_")


def _joined(
    mode: str,
    texts: str,
    prompts: Sequence[Prompt],
    rows: Mapping[str, FilesByPrompt],
    names: Mapping[str, Sequence[str]],
    *,
    common: bool,
    most: int | None,
) -> NamedClips:
    """Prompts and samples that every row has; what only some have is an error, or left out and said."""
    held = {
        row: {clip_id(p, sample) for p, found in of_row.items() for sample in found}
        for row, of_row in rows.items()
    }
    for row, clips in held.items():
        if not clips:
            raise ValueError(
                f"{row}: none of its {len(names[row])} files has the name of a prompt (first: "
                f"{names[row][0]!r}); name them <prompt>-<k> or <id>-<k> with k from 0, or give a list with "
                "the columns file and prompt."
            )
    shared, notes = set.intersection(*held.values()), []
    for row, clips in held.items():
        lacking = sorted(set.union(*held.values()) - clips)
        if lacking and not common:
            raise ValueError(
                f"{row} lacks {len(lacking)} of {len(set.union(*held.values()))} clips that others have "
                f"({_some(lacking)}), and only equal sets of clips are compared; bring them, or add "
                f"--common to score the {len(shared)} clips that all have."
            )
        if lacking:
            notes.append(f"{row} lacks {len(lacking)} clips that others have ({_some(lacking)}).")
    chosen, files = [], {row: dict[str, str]() for row in rows}
    left: dict[str, list[str]] = {row: [] for row in rows}
    for prompt in prompts:
        count = 0
        limit = prompt.samples if mode == "standard" and prompt.keep else most
        while clip_id(prompt.id, count) in shared and (limit is None or count < limit):
            count += 1
        if count:
            keep = None if prompt.keep is None else min(prompt.keep, count)
            chosen.append(prompt.model_copy(update={"samples": count, "keep": keep}))
        for row, of_row in rows.items():
            for sample, name in of_row.get(prompt.id, {}).items():
                if sample < count:
                    files[row][clip_id(prompt.id, sample)] = name
    if not chosen:
        raise ValueError("No clip is there in every folder as sample 0 of a prompt; look at their names.")
    for row in rows:
        left[row] = sorted(set(names[row]) - set(files[row].values()))
        if left[row]:
            notes.append(f"{row}: {len(left[row])} files are left out ({_some(left[row])}).")
    return NamedClips(mode, texts, tuple(chosen), files, tuple(notes))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_CLIPS_SHOWN} more" if len(names) > NAMED_CLIPS_SHOWN else ""
    return ", ".join(map(repr, names[:NAMED_CLIPS_SHOWN])) + more
