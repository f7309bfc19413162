"""Clips named by a number: prompt0007_x.mp4 as RAVEN's repository writes since August 2026, or 0007-2.mp4.

The number is a line of a list of prompts; the files of one line are its samples, in the order of their names.
"""

import re
from collections.abc import Mapping, Sequence

from evaluation.files import text_lines, utf8_text
from evaluation.records import Prompt
from evaluation.shards import Sample

LINE_NUMBER = re.compile(r"(?:prompt|video|clip)?[-_]?([0-9]{1,6})(?:[-_ ].*)?\.mp4", re.IGNORECASE)
"""A name that begins with a number, or with a word for a clip and a number."""


def files_by_number(names: Sequence[str]) -> dict[int, list[str]]:
    """Names of files by the number that they begin with, in the order in which people count: 2 before 10."""
    found: dict[int, list[str]] = {}
    for name in sorted(names, key=_counted):
        if named := LINE_NUMBER.fullmatch(name):
            found.setdefault(int(named[1]), []).append(name)
    return found


def _counted(name: str) -> tuple[tuple[int, str], ...]:
    parts = re.split(r"([0-9]+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def lines_of_list(content: bytes, name: str, prompts: Sequence[Prompt]) -> dict[int, Prompt]:
    """The prompt of each line, from 0, of a list of short or extended texts. name: the file's.

    Raises ValueError naming the first line whose text is that of no prompt of the suite, or of several.
    """
    by_text: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        for text in {prompt.prompt, prompt.extended}:
            by_text.setdefault(text, []).append(prompt)
    found: dict[int, Prompt] = {}
    for line, text in enumerate(text_lines(utf8_text(content, name))):
        known = by_text.get(text.strip(), [])
        if len(known) != 1:
            raise ValueError(
                f"{name} line {line + 1} is the text of {len(known) or 'no'} prompts of the suite "
                f"({text[:60]!r}), expected one; give the list by which the clips were numbered."
            )
        found[line] = known[0]
    return found


def lines_of_suite(prompts: Sequence[Prompt]) -> dict[int, Prompt]:
    """The prompt of each line, from 0, of the suite's own list as published, repeated lines too."""
    return {
        line: prompt for place, prompt in enumerate(prompts) for line in prompt.facts.get("lines", (place,))
    }


def first_line(numbers: Sequence[int], lines: Mapping[int, Prompt]) -> int:
    """The number of the list's first line: 1 where there is no 0 and the last one fits, else 0."""
    return 1 if numbers and min(numbers) == 1 and max(numbers) == max(lines) + 1 else 0


def match_numbers(
    names: Sequence[str], samples: Sequence[Sample], lines: Mapping[int, Prompt]
) -> tuple[dict[str, str], str]:
    """Names of files by clip id, and how they were read.

    lines: the prompt of each line of the list. Where a prompt has several lines its last one counts, as in
    VBench's list. Files beyond a prompt's samples are in no clip.
    """
    found = files_by_number(names)
    first = first_line(list(found), lines)
    line_of = {prompt.id: line for line, prompt in sorted(lines.items())}
    files: dict[str, str] = {}
    for sample in samples:
        group = found.get(line_of.get(sample.prompt.id, -2) + first, [])
        if sample.index < len(group):
            files[sample.clip_id] = group[sample.index]
    return files, f"<line of the list, from {first}>_*.mp4, samples in the order of names"


def unrendered_names(names: Sequence[str], lines: Mapping[int, Prompt]) -> list[str]:
    """Files of lines that repeat a later line's prompt, which the suite does not ask for."""
    found = files_by_number(names)
    first = first_line(list(found), lines)
    last = {prompt.id: line for line, prompt in sorted(lines.items())}
    repeats = {line for line, prompt in lines.items() if last[prompt.id] != line}
    return [name for line in sorted(repeats) for name in found.get(line + first, [])]
