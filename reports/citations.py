"""Works to cite: BibTeX entries of references.bib by key, and the key of a baseline's paper."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from reports.exports import latex_text

REFERENCES = Path(__file__).parent / "references.bib"
ROW_PREFIX = "row_"
"""Of the keys of baselines whose paper is not in the file. Their own citation, as given, is the entry."""
_ENTRY = re.compile(r"^@\w+\{(\w+),\n(?:.*\n)*?\}$", re.MULTILINE)
_ARXIV = re.compile(r"arXiv[: ]\s*(\d{4}\.\d{4,5})")
BRACES = str.maketrans("{}", "()")
_CITED = re.compile(r"\[@\w+(?:; @\w+)*\]")


@cache
def read_references(path: Path = REFERENCES) -> Mapping[str, str]:
    """Entries by key, in the file's order. Raises ValueError for a key that stands twice."""
    entries: dict[str, str] = {}
    for found in _ENTRY.finditer(path.read_text(encoding="utf-8")):
        if found[1] in entries:
            raise ValueError(f"{path.name} has the key {found[1]!r} twice; keep one entry.")
        entries[found[1]] = found[0]
    return entries


def baseline_key(row: str, citation: str) -> str:
    """Citation key of a row's paper: that of the entry with its arXiv number, else one of its own."""
    if number := _ARXIV.search(citation):
        for key, entry in read_references().items():
            if f"eprint = {{{number[1]}}}" in entry:
                return key
    return ROW_PREFIX + row


def cited_keys(text: str) -> list[str]:
    """Keys in a text with citations like [@holm; @wilson], each once, in their order."""
    return list(dict.fromkeys(key for group in _CITED.findall(text) for key in re.findall(r"@(\w+)", group)))


def with_citations(text: str, escape: Callable[[str], str], cite: Callable[[str], str] = str) -> str:
    """The text, its citations such as [@holm; @wilson] through `cite`, what lies between through `escape`."""
    found = []
    for part in re.split(rf"({_CITED.pattern})", text):
        before, after = (
            (part[:1].isspace() * " ", part[-1:].isspace() * " ") if part.strip() else (part[:1], "")
        )
        found.append(cite(part) if _CITED.fullmatch(part) else f"{before}{escape(part.strip())}{after}")
    return "".join(found)


def latex_citation(citation: str) -> str:
    r"""\citep{holm,wilson} for [@holm; @wilson]."""
    return rf"\citep{{{','.join(cited_keys(citation))}}}"


def bibtex(keys: Iterable[str], given: Mapping[str, str]) -> str:
    """Entries of the keys, in their order. Raises KeyError for a key that is nowhere.

    given: the citations of rows as their files give them, for keys that are not in references.bib.
    """
    references = read_references()
    entries = []
    for key in keys:
        if key in references:
            entries.append(references[key])
        else:  # BibTeX counts braces, escaped or not
            note = latex_text(given[key.removeprefix(ROW_PREFIX)].translate(BRACES)).strip()
            entries.append(f"@misc{{{key},\n  note = {{{note}}},\n}}")
    return "\n\n".join(entries) + "\n" if entries else ""
