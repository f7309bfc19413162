"""A user's prompt list -> prompt records; whatever is wrong is said with the file's name and line.

.csv, .tsv, .jsonl: one prompt a line, with the columns (keys) id and prompt, samples (unless the suite's
`prompts.samples` gives one number for all) and, if wanted, extended, dimensions, keep and, in .jsonl, facts.
A column that is there is filled in every line, except for `dimensions` and `keep`. In .csv and .tsv blanks
around a cell are not part of it, a prompt with a comma is put in double quotes, and several dimensions are
separated by semicolons.
.txt: one prompt a line and nothing else; ids are p0000, p0001, ... in the file's order. Since no line can ask
for a dimension, its prompts are scored on all of the suite's that need no facts.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.files import control_character, load_json, read_table, text_lines, utf8_text
from evaluation.records import Prompt, plain
from evaluation.text_only_dimensions import ON_REQUEST, TEXT_ONLY, VBENCH_FACTS
from evaluation.toybox.captions import MAX_WORDS, VOCABULARY
from evaluation.toybox.facts import check_facts
from evaluation.toybox.prompt_kinds import DIMENSIONS_OF_KIND, prompt_kind

REQUIRED = ("id", "prompt")
OPTIONAL = ("samples", "extended", "dimensions", "keep")
MAY_BE_EMPTY = ("dimensions", "keep")
MAX_ID = 120

TOYBOX_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
"""How the toy text encoder cuts a caption; models.text says the same, and a test compares the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRules:
    """What a list may ask of a benchmark."""

    free: tuple[str, ...]
    """Dimensions of a prompt that names none; they need no facts."""
    on_request: tuple[str, ...]
    """Dimensions that need no facts either."""
    by_facts: Callable[[Mapping[str, Any]], tuple[str, ...]]
    """Dimensions that a prompt's facts allow; raises ValueError if they are no facts of this benchmark."""
    words: frozenset[str] | None = None
    """All that the text encoder knows; None allows any text."""
    max_words: int = 0
    """The longest text, in words, where `words` are given."""


def _toybox_dimensions(facts: Mapping[str, Any]) -> tuple[str, ...]:
    check_facts(dict(facts))
    return DIMENSIONS_OF_KIND[prompt_kind(dict(facts))]


def _vbench_dimensions(facts: Mapping[str, Any]) -> tuple[str, ...]:
    unknown = [key for key in facts if key not in VBENCH_FACTS]
    if unknown:
        raise ValueError(f"facts has the key {unknown[0]!r}, expected some of {', '.join(VBENCH_FACTS)}")
    return tuple(facts)


LIST_RULES: dict[str, ListRules] = {
    "toybox": ListRules(
        free=TEXT_ONLY["toybox"],
        on_request=ON_REQUEST["toybox"],
        by_facts=_toybox_dimensions,
        words=frozenset(VOCABULARY),
        max_words=MAX_WORDS,
    ),
    "vbench": ListRules(
        free=TEXT_ONLY["vbench"], on_request=ON_REQUEST["vbench"], by_facts=_vbench_dimensions
    ),
}


def read_user_list(content: bytes, name: str, rules: ListRules, samples: int | None) -> list[Prompt]:
    """The prompts of a list, in its order. name: the file's name, whose ending says its format, for errors.

    samples: of every prompt, for lists without that column; None where the list says it.
    Raises ValueError for the first line that is wrong.
    """
    ending = name.rpartition(".")[2].lower()
    if ending not in LIST_READERS:
        raise ValueError(
            f"{name} ends in .{ending}, expected one of .{', .'.join(LIST_READERS)}; save the prompt list as "
            "one of these."
        )
    prompts: list[Prompt] = []
    ids: dict[str, int] = {}
    texts: dict[str, int] = {}
    for line, cells in LIST_READERS[ending](utf8_text(content, name), name):
        where = f"{name} line {line}"
        if samples is not None and "samples" in cells:
            raise ValueError(
                f"{where} gives samples, and so does the suite's `prompts.samples` ({samples}); take one "
                "of the two out."
            )
        prompt = _prompt({"samples": samples, **cells} if samples is not None else cells, where, rules)
        if prompt.id in ids:
            raise ValueError(
                f"{where}: id {prompt.id!r} is already that of line {ids[prompt.id]}; ids must be unique."
            )
        if prompt.prompt in texts:
            raise ValueError(
                f"{where}: the prompt is the same as in line {texts[prompt.prompt]}; keep one of them and "
                "raise its `samples`."
            )
        ids[prompt.id] = texts[prompt.prompt] = line
        prompts.append(prompt)
    if not prompts:
        raise ValueError(f"{name} holds no prompt; write one a line.")
    return prompts


Lines = Iterator[tuple[int, dict[str, Any]]]
"""Line number, counted from 1, and the line's cells by column."""


def _table(text: str, name: str, delimiter: str) -> Lines:
    columns, rows = read_table(text, name, delimiter)
    if columns:
        _check_columns(columns, (*REQUIRED, *OPTIONAL), f"{name} line 1")
    for line, row in rows:
        yield line, _cells(row, f"{name} line {line}")


def _cells(row: Mapping[str, str], where: str) -> dict[str, Any]:
    """Text of a table's row as the values that .jsonl would have, without empty optional cells."""
    cells: dict[str, Any] = {key: value for key, value in row.items() if value or key not in MAY_BE_EMPTY}
    for key in ("samples", "keep"):
        if key in cells:
            if not re.fullmatch(r"[0-9]{1,6}", cells[key]):
                raise ValueError(
                    f"{where}: {key} is {cells[key]!r}, expected a whole number from 1 on; correct it."
                )
            cells[key] = int(cells[key])
    if "dimensions" in cells:
        cells["dimensions"] = [part.strip() for part in cells["dimensions"].split(";")]
    return cells


def _json_lines(text: str, name: str) -> Lines:
    for line, source in enumerate(text_lines(text), 1):
        where = f"{name} line {line}"
        cells = load_json(source, where)
        if not isinstance(cells, dict):
            raise ValueError(f"{where} is no JSON object; write one object a line.")
        _check_columns(list(cells), (*REQUIRED, *OPTIONAL, "facts"), where)
        yield line, cells


def _plain_lines(text: str, name: str) -> Lines:
    del name  # one signature for all readers
    for number, prompt in enumerate(text_lines(text)):
        yield number + 1, {"id": f"p{number:04d}", "prompt": prompt.strip()}


LIST_READERS: dict[str, Callable[[str, str], Lines]] = {
    "csv": lambda text, name: _table(text, name, ","),
    "tsv": lambda text, name: _table(text, name, "\t"),
    "jsonl": _json_lines,
    "txt": _plain_lines,
}


def _check_columns(columns: Sequence[str], known: Sequence[str], where: str) -> None:
    for column in columns:
        if column not in known:
            facts = "; `facts` needs .jsonl" if column == "facts" else ""
            raise ValueError(
                f"{where}: column {column[:40]!r} is unknown; the columns are {', '.join(known)}{facts}; "
                "correct or remove it."
            )
    for column in REQUIRED:
        if column not in columns:
            raise ValueError(
                f"{where}: column {column!r} is missing; the columns are {', '.join(known)}; add it."
            )


def _prompt(cells: Mapping[str, Any], where: str, rules: ListRules) -> Prompt:
    """One prompt from the cells of its line. Raises ValueError."""
    if "samples" not in cells:
        raise ValueError(
            f"{where} has no samples; add that column, or give the suite one number as `prompts.samples`."
        )
    name = cells["id"]
    if not isinstance(name, str) or not re.fullmatch(rf"[a-z0-9_]{{1,{MAX_ID}}}", name):
        raise ValueError(
            f"{where}: id is {name!r}, expected 1 to {MAX_ID} of the characters a-z, 0-9 and _ (it names "
            "the clips); rename it."
        )
    text = _written(cells["prompt"], "prompt", where, rules)
    extended = _written(cells["extended"], "extended", where, rules) if "extended" in cells else text
    samples = _count(cells["samples"], "samples", where)
    keep = _count(cells["keep"], "keep", where) if cells.get("keep") is not None else None
    if keep is not None and keep > samples:
        raise ValueError(f"{where}: keep is {keep}, but only {samples} samples are rendered; lower it.")
    facts = cells["facts"] if cells.get("facts") is not None else {}
    return Prompt(
        id=name,
        prompt=text,
        extended=extended,
        dimensions=_dimensions(cells.get("dimensions"), facts, where, rules),
        samples=samples,
        keep=keep,
        facts=facts,
    )


def _count(value: Any, column: str, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{where}: {column} is {value!r}, expected a whole number from 1 on; correct it.")
    return value


def _written(value: Any, column: str, where: str, rules: ListRules) -> str:
    """A text that a model can be given. Raises ValueError for one that is empty or cannot be used."""
    if not isinstance(value, str):
        raise ValueError(f"{where}: {column} is {value!r}, expected text; correct it.")
    text = value.strip()
    if not text:
        rest = (
            "fill it in, or take the whole column out to feed the prompts themselves"
            if column == "extended"
            else "write it or remove the line"
        )
        raise ValueError(f"{where}: {column} is empty; {rest}.")
    if odd := control_character(text):
        raise ValueError(
            f"{where}: {column} holds the control character {odd!r}; write it as one plain line."
        )
    if rules.words is not None:
        words = TOYBOX_WORD.findall(text.lower())
        unknown = [word for word in words if word not in rules.words]
        if unknown:
            raise ValueError(
                f"{where}: the embedded world does not know the word {unknown[0]!r} of {column}; its "
                f"{len(rules.words)} words are {' '.join(sorted(rules.words))}; use these, without "
                "punctuation."
            )
        if len(words) > rules.max_words:
            raise ValueError(
                f"{where}: {column} has {len(words)} words, and the embedded world reads at most "
                f"{rules.max_words}; shorten it."
            )
    return text


def _dimensions(value: Any, facts: Any, where: str, rules: ListRules) -> tuple[str, ...]:
    """Dimensions that a line asks for, or those that need no facts. Raises ValueError if one cannot be."""
    if not isinstance(facts, dict):
        raise ValueError(f"{where}: facts is {facts!r}, expected an object; correct it.")
    try:
        by_facts = rules.by_facts(plain(facts)) if facts else ()
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).rstrip('.')}; correct the facts.") from error
    if value is None:
        return rules.free
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError(
            f"{where}: dimensions is {value!r}, expected names of dimensions; correct or leave it out."
        )
    allowed = tuple(dict.fromkeys((*rules.free, *rules.on_request, *by_facts)))
    for item in value:
        if item not in allowed:
            raise ValueError(
                f"{where}: dimension {item!r} cannot be scored with {'these' if facts else 'no'} facts; "
                f"this prompt's are {', '.join(allowed)}; take it "
                f"out{'' if facts else ' or give facts (.jsonl)'}."
            )
        if value.count(item) > 1:
            raise ValueError(f"{where}: dimension {item!r} appears twice; remove one.")
    return tuple(value)
