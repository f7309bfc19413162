"""Prompt lists: read VBench's files into records, choose, count, and refuse what is not the pinned file."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evaluation.records import Prompt
from evaluation.words import numbered

NAME_BYTES = 255
"""Longest file name of common file systems."""
UNSAFE_IN_NAMES = re.compile(r"""[/\\"$`\x00-\x1f\x7f]""")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCounts:
    """What a run is about to do."""

    lines: int
    """Of the source list."""
    samples: int
    """That these lines ask for."""
    prompts: int
    """Rendered."""
    clips: int
    """Per row."""

    def __str__(self) -> str:
        asked = f" (of {numbered(self.samples, 'sample')} asked for)" if self.samples != self.clips else ""
        lines, prompts = numbered(self.lines, "line"), numbered(self.prompts, "distinct prompt")
        return f"{lines}, {prompts}, {numbered(self.clips, 'clip')} per row{asked}"


def count_prompts(prompts: Sequence[Prompt]) -> PromptCounts:
    """Counts of a prompt list. A prompt that stands for several source lines has them in facts["lines"]."""
    lines = [len(p.facts.get("lines", (0,))) for p in prompts]
    return PromptCounts(
        lines=sum(lines),
        samples=sum(number * p.samples for number, p in zip(lines, prompts, strict=True)),
        prompts=len(prompts),
        clips=sum(p.samples for p in prompts),
    )


class UnrenderedLine(NamedTuple):
    """A line of the source list whose prompt a later line repeats; that one is rendered for both."""

    line: int
    """Counted from 0, as `rendered`."""
    rendered: int
    prompt: Prompt


def unrendered_lines(prompts: Sequence[Prompt]) -> list[UnrenderedLine]:
    """Every source line that is not rendered itself, in the order of the prompts that stand for them."""
    return [
        UnrenderedLine(line, p.facts["lines"][-1], p)
        for p in prompts
        for line in p.facts.get("lines", ())[:-1]
    ]


def list_notices(prompts: Sequence[Prompt], *, named_by_prompt: bool) -> list[str]:
    """What a reader of the counts should know: lines that are not rendered, prompts that would share a file
    name, and prompts that models are fed without an extended text.

    named_by_prompt: the benchmark's scorer names its files by the prompt (VBench: `<prompt>-<index>.mp4`).
    """
    notices = []
    if unrendered := unrendered_lines(prompts):
        pairs = ", ".join(f"{found.line} ({found.prompt.id})" for found in unrendered)
        notices.append(
            f"Not rendered: lines {pairs}, counted from 0; each repeats the prompt named in brackets, "
            "whose later line is rendered and stands for both."
        )
    if named_by_prompt:
        notices += _name_notices(prompts)
    plain = [p.id for p in prompts if p.extended == p.prompt]
    if plain:
        notices.append(
            f"{len(plain)} of {len(prompts)} prompts have no extended text: the models are fed the prompt "
            "itself."
        )
    return notices


def _name_notices(prompts: Sequence[Prompt]) -> list[str]:
    """Prompts whose official file names collide where case does not count, or cannot be used everywhere."""
    folded: dict[str, list[str]] = {}
    for p in prompts:
        folded.setdefault(unicodedata.normalize("NFC", p.prompt).casefold(), []).append(p.id)
    notices = []
    collisions = [" and ".join(ids) for ids in folded.values() if len(ids) > 1]
    if collisions:
        notices.append(
            f"The prompts {', '.join(collisions)} differ in case only: our clips are named by id and stay "
            "apart, but VBench's own file names need a file system that tells case."
        )
    unsafe = [p.id for p in prompts if not is_safe_name(p.prompt, p.samples)]
    if unsafe:
        notices.append(
            f"{len(unsafe)} prompts cannot be file names of VBench's form ({', '.join(unsafe[:5])}): they "
            "hold a slash, a quote or the like, end in -<number>, or are too long; clips are named by id, "
            "but an export under VBench's names will fail."
        )
    return notices


def is_safe_name(prompt: str, samples: int) -> bool:
    """Whether `<prompt>-<index>.mp4` is a file name on common systems that gives the prompt back."""
    return (
        not UNSAFE_IN_NAMES.search(prompt)
        and prompt == prompt.strip()
        and not re.search(r"-[0-9]+$", prompt)
        and unicodedata.is_normalized("NFC", prompt)
        and len(f"{prompt}-{samples - 1}.mp4".encode()) <= NAME_BYTES
    )


def require_sha256(files: Mapping[str, bytes], expected: Mapping[str, str]) -> None:
    """Raise ValueError if the content of a file is not what its pinned sha256 says."""
    for name, sha256 in expected.items():
        found = hashlib.sha256(files[name]).hexdigest()
        if found != sha256:
            raise ValueError(
                f"{name} has sha256 {found}, expected {sha256}; it is damaged, another version, or changed "
                "since this run was planned. Fetch it again (`make fetch`) or start the run again."
            )


def require_consistent(prompts: Sequence[Prompt], dimensions: Sequence[str], where: str) -> None:
    """Raise ValueError unless ids are unique, `keep` fits, and every dimension of the suite has a prompt."""
    ids = [p.id for p in prompts]
    doubled = sorted({i for i in ids if ids.count(i) > 1})
    if doubled:
        raise ValueError(
            f"{where} uses the prompt ids {', '.join(doubled)} more than once; ids must be unique."
        )
    too_many = [p.id for p in prompts if p.keep is not None and p.keep > p.samples]
    if too_many:
        raise ValueError(
            f"{where} keeps more samples than it renders for {', '.join(too_many)}; lower `keep`."
        )
    covered = {dimension for p in prompts for dimension in p.dimensions}
    uncovered = [d for d in dimensions if d not in covered]
    if uncovered:
        raise ValueError(
            f"{where} has no prompt for the dimensions {', '.join(uncovered)}; it covers "
            f"{', '.join(sorted(covered))}. Take them out of the suite's `dimensions` or give them prompts."
        )


def choose(prompts: Sequence[Prompt], dimensions: Collection[str], first: int | None) -> list[Prompt]:
    """The prompts that score one of `dimensions`, restricted to those; the first `first` per dimension."""
    chosen: list[Prompt] = []
    taken = dict.fromkeys(dimensions, 0)
    for prompt in prompts:
        wanted = tuple(d for d in prompt.dimensions if d in taken and (first is None or taken[d] < first))
        if wanted:
            chosen.append(prompt.model_copy(update={"dimensions": wanted}))
            taken.update({d: taken[d] + 1 for d in wanted})
    return chosen


def vbench_prompts(
    full_info: Sequence[dict[str, Any]],
    short: Sequence[str],
    extended: Sequence[str],
    *,
    samples: int,
    static_samples: int,
    static_keep: int,
) -> list[Prompt]:
    """The 944 distinct prompts of VBench's 946 lines, each with its extended text.

    The lists are the pinned ones, see require_sha256. Of two lines with the same short prompt the later is
    rendered (Vchitect/VBench#58); it takes over the dimensions and the facts of the earlier. Of the prompts
    of temporal flickering, the first 75 lines, `static_samples` are rendered and `static_keep` kept.
    """
    lines: dict[str, list[int]] = {}
    for number, text in enumerate(short):
        lines.setdefault(text, []).append(number)
    prompts = []
    for number, (text, long) in enumerate(zip(short, extended, strict=True)):
        same = lines[text]
        if number != same[-1]:
            continue
        static = "temporal_flickering" in full_info[number]["dimension"]
        facts: dict[str, Any] = {"lines": same}
        for line in same:
            facts |= full_info[line].get("auxiliary_info", {})
        prompts.append(
            Prompt(
                id=f"v{number:04d}",
                prompt=text,
                extended=long,
                dimensions=tuple(dict.fromkeys(d for line in same for d in full_info[line]["dimension"])),
                samples=static_samples if static else samples,
                keep=static_keep if static else None,
                facts=facts,
            )
        )
    return prompts
