"""Prompt lists: read VBench's files into records, choose, count, and refuse what does not add up."""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from evaluation.records import Prompt

VBENCH_LINES = 946
VBENCH_DISTINCT = 944
VBENCH_FLICKER_LINES = 75
VBENCH_UNRELATED = 47
"""Lines of 946 that may have no word in common: the true pairing has 14, one shifted by a line has 424."""

NAME_BYTES = 255
"""Longest file name of common file systems."""
UNSAFE_IN_NAMES = re.compile(r"""[/\\"$`\x00-\x1f\x7f]""")
LITTLE_WORDS = frozenset(
    ["a", "an", "and", "at", "by", "from", "in", "is", "of", "on", "person", "style", "the", "to", "with"]
)


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
        asked = f" (of {self.samples:,} samples asked for)" if self.samples != self.clips else ""
        return f"{self.lines} lines, {self.prompts} distinct prompts, {self.clips:,} clips per row{asked}"


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


def unrelated_lines(short: Sequence[str], extended: Sequence[str]) -> list[int]:
    """Lines, from 0, whose extended text has no word of the short prompt but little words like "a"."""

    def words(text: str) -> set[str]:
        return set(re.findall("[a-z]+", text.lower())) - LITTLE_WORDS

    return [i for i, (a, b) in enumerate(zip(short, extended, strict=True)) if not words(a) & words(b)]


def require_extended(short: Sequence[str], extended: Sequence[str]) -> None:
    """Raise ValueError unless every extended text is one, and belongs to its line.

    Of the published lists none of 946 is equal to its short prompt or shorter (the least is 1.7 times as
    long), all are distinct, and 14 share no word with it. Models that are fed short prompts lose about ten
    points of the semantic score.
    """
    fallback = [
        i for i, (a, b) in enumerate(zip(short, extended, strict=True)) if len(b.strip()) <= len(a.strip())
    ]
    if fallback:
        raise ValueError(
            f"{len(fallback)} of {len(short)} extended prompts are no longer than their short prompt "
            f"(first: line {fallback[0] + 1}, {extended[fallback[0]][:60]!r}); this is the short list or a "
            "mixture. Run `make fetch` again."
        )
    if len(set(extended)) != len(extended):
        raise ValueError(
            f"the extended list has {len(set(extended))} distinct texts in {len(extended)} lines, expected "
            "one for each; run `make fetch` again."
        )
    unrelated = unrelated_lines(short, extended)
    if len(unrelated) > VBENCH_UNRELATED:
        raise ValueError(
            f"{len(unrelated)} of {len(short)} extended prompts have no word in common with their short "
            f"prompt (first: line {unrelated[0] + 1}), expected at most {VBENCH_UNRELATED}; the lines of "
            "the two lists do not belong together. Run `make fetch` again."
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

    Of two lines with the same short prompt the later is rendered (Vchitect/VBench#58); it takes over the
    dimensions and the facts of the earlier. The first 75 lines are the static prompts: `static_samples` of
    each are rendered, `static_keep` kept. Raises ValueError if the three files do not belong together, or the
    counts do not add up.
    """
    if not len(full_info) == len(short) == len(extended) == VBENCH_LINES:
        raise ValueError(
            f"VBench's lists have {len(full_info)} records, {len(short)} short and {len(extended)} "
            f"extended lines; all three must have {VBENCH_LINES}. Run `make fetch` again."
        )
    differing = [
        i for i, (entry, text) in enumerate(zip(full_info, short, strict=True)) if entry["prompt_en"] != text
    ]
    if differing:
        raise ValueError(
            f"line {differing[0] + 1} of the short list is not the prompt of record {differing[0]} of "
            f"VBench_full_info.json ({len(differing)} differ); the files are of different versions. Run "
            "`make fetch` again."
        )
    require_extended(short, extended)
    flicker = [i for i, entry in enumerate(full_info) if "temporal_flickering" in entry["dimension"]]
    if flicker != list(range(VBENCH_FLICKER_LINES)):
        raise ValueError(
            f"VBench_full_info.json scores {len(flicker)} prompts on temporal_flickering, expected exactly "
            f"the first {VBENCH_FLICKER_LINES}; run `make fetch` again."
        )
    lines: dict[str, list[int]] = {}
    for number, text in enumerate(short):
        lines.setdefault(text, []).append(number)
    if len(lines) != VBENCH_DISTINCT:
        raise ValueError(
            f"VBench's list has {len(lines)} distinct prompts, expected {VBENCH_DISTINCT}; run `make "
            "fetch` again."
        )
    prompts = []
    for number, text in enumerate(short):
        same = lines[text]
        if number != same[-1]:
            continue
        static = number < VBENCH_FLICKER_LINES
        facts: dict[str, Any] = {"lines": same}
        for line in same:
            facts |= full_info[line].get("auxiliary_info", {})
        prompts.append(
            Prompt(
                id=f"v{number:04d}",
                prompt=text,
                extended=extended[number],
                dimensions=tuple(dict.fromkeys(d for line in same for d in full_info[line]["dimension"])),
                samples=static_samples if static else samples,
                keep=static_keep if static else None,
                facts=facts,
            )
        )
    counts = count_prompts(prompts)
    filtered, others = VBENCH_FLICKER_LINES, VBENCH_LINES - VBENCH_FLICKER_LINES
    expected = PromptCounts(
        lines=VBENCH_LINES,
        samples=filtered * static_samples + others * samples,
        prompts=VBENCH_DISTINCT,
        clips=filtered * static_samples + (others - (VBENCH_LINES - VBENCH_DISTINCT)) * samples,
    )
    if counts != expected:
        raise ValueError(
            f"VBench's prompts do not add up: {counts} (static prompts among the repeated ones?), expected "
            f"{expected}; run `make fetch` again."
        )
    return prompts
