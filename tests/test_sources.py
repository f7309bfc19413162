"""Whoever has the repository can follow every source that a file cites: pages, anchors, links, papers."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTPUTS = ("results", "resources", ".venv", ".venvs", ".git", ".snakemake")
"""Folders that no commit holds: products of a run, environments, caches."""

DEAD = "raven baselines design performance vbench embedded features house style"
"""Stems of Markdown pages that once were cited and are in no clone of this repository."""

DEAD_PAGE = re.compile(rf"(?<![\w/.-])(?:{'|'.join(DEAD.split())})\.md\b")
PAGE = re.compile(r"(?<![\w/.:{}<>*-])((?:[\w.-]+/)*[\w.-]+\.md)\b(?!\.j2)(?:#([\w-]+))?")
"""A page, perhaps with an anchor. A path that begins behind a placeholder such as `{folder}/` is not one."""

LINK = re.compile(r"\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"https?://\S+|\b[\w.-]+/[\w.-]+(?:@\w+)?:[\w./-]+")
"""What another site holds: an address, or owner/repo:path."""

PAPER = re.compile(r"arxiv(?:\.org/\S+|[^A-Za-z0-9\n]{0,3}\d[\d.]*)", re.IGNORECASE)
PAPER_FORM = re.compile(r"arXiv[ :]\d{4}\.\d{5}\.?")
HEADING = re.compile(r"#{1,6}\s+(.*?)(?:\s+#+)?\s*")


def tracked_files(root: Path) -> list[Path]:
    """Files that git holds or would take; without git, the tree without outputs."""
    if (root / ".git").exists():
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout.split(
            "\0"
        )
        return [root / name for name in sorted(filter(None, names)) if (root / name).is_file()]
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in OUTPUTS and not name.startswith(".venv"))
        found += [Path(folder) / name for name in sorted(names)]
    return found


def text_of(path: Path) -> str | None:
    """The file's text, None for a binary file."""
    content = path.read_bytes()
    return None if b"\0" in content else content.decode("utf-8")


def headings(text: str) -> Iterator[str]:
    """Headings of a Markdown page, those inside code fences left out."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and (heading := HEADING.fullmatch(line)):
            yield heading[1]


def anchors(text: str) -> set[str]:
    """Anchors that GitHub gives a page.

    Headings in lower case without punctuation, blanks as hyphens, repeated ones numbered.
    """
    found: set[str] = set()
    for heading in headings(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = 0
        while anchor in found:
            count += 1
            anchor = f"{name}-{count}"
        found.add(anchor)
    return found


@cache
def anchors_of(page: Path) -> set[str]:
    return anchors(page.read_text(encoding="utf-8"))


def error_of_page(name: str, anchor: str | None, folders: list[Path]) -> str | None:
    """What is wrong with a citation that may be seen from any of the folders, None if nothing is."""
    pages = [folder / name for folder in folders if (folder / name).is_file()]
    if not pages:
        return f"there is no page {name}"
    if anchor and not any(anchor in anchors_of(page) for page in pages):
        return f"{name} has no heading #{anchor}"
    return None


def errors_of_link(link: str, page: Path) -> Iterator[str]:
    """What is wrong with the target of a link on a Markdown page, which is seen from the page's folder."""
    target, _, anchor = link.partition("#")
    if "://" in target:
        return
    if target and not target.endswith(".md"):
        if not (page.parent / target).exists():
            yield f"the link {link} leads nowhere"
    elif error := error_of_page(target or page.name, anchor, [page.parent]):
        yield error


def errors_of_line(line: str, path: Path, root: Path) -> Iterator[str]:
    """What the line cites and nobody can follow.

    Pages are seen from the root, on a Markdown page from its own folder too.
    """
    for dead in DEAD_PAGE.finditer(line):
        yield f"{dead[0]} is not in the repository"
    for paper in PAPER.finditer(line):
        if not PAPER_FORM.fullmatch(paper[0]):
            yield f"{paper[0]!r} is not of the form arXiv NNNN.NNNNN"
    folders = [root]
    if path.suffix == ".md":
        folders.append(path.parent)
        for link in LINK.findall(line):
            yield from errors_of_link(link, path)
        line = LINK.sub("]", line)
    for page in PAGE.finditer(ELSEWHERE.sub("", line)):
        name, anchor = page.groups()
        output = (
            "/" not in name and not anchor and not (root / name).exists()
        )  # written by a run, such as table.md
        if output or DEAD_PAGE.fullmatch(name) or name.split("/")[0] in OUTPUTS:
            continue
        if error := error_of_page(name, anchor, folders):
            yield error


def broken_citations(root: Path) -> list[str]:
    """Every citation below root that nobody can follow, as "file:line: what is wrong".

    This file, which plants some, is left out.
    """
    found: list[str] = []
    for path in tracked_files(root):
        text = text_of(path) if path != Path(__file__) else None
        for number, line in enumerate((text or "").splitlines(), 1):
            where = f"{path.relative_to(root).as_posix()}:{number}"
            found += [f"{where}: {error}" for error in errors_of_line(line, path, root)]
    return found


def test_every_cited_source_can_be_followed() -> None:
    """Guards against a page that moves, a heading that is renamed, and notes that only their writer has."""
    broken = broken_citations(ROOT)
    assert not broken, "cited, and not to be found:\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Noise schedule", "noise-schedule"),
        ("A, B. What `exact` does", "a-b-what-exact-does"),
        ("Traps of vbench 0.1.5", "traps-of-vbench-015"),
        ("[Speed](README.md) and memory", "speed-and-memory"),
        ("Half-open (draft) ##", "half-open-draft"),
        ("snake_case & more", "snake_case--more"),
        ("Größe", "größe"),
    ],
)
def test_anchors_are_githubs(heading: str, anchor: str) -> None:
    assert anchors(f"# Title\n\n## {heading}\n") == {"title", anchor}


def test_repeated_headings_are_numbered_and_code_has_none() -> None:
    assert anchors("# A\n## A\n```\n# no heading\n```\n### A\n#no heading either\n") == {"a", "a-1", "a-2"}


PAGES = {
    "README.md": "# Title\n\n[notes](docs/notes.md#second-part), [own](#title), [script](tool.py)\n",
    "docs/notes.md": "# Notes\n\n## Second part\n\n[back](../README.md#title), [here](notes.md)\n",
    "tool.py": "# docs/notes.md#second-part, README.md, arXiv 2605.15190; writes a.md, results/a/b.md\n",
    "data.yaml": "source: owner/repo:docs/other.md, https://example.org/page.md, arXiv:2605.15190\n",
}


def planted(tmp_path: Path, name: str, text: str) -> list[str]:
    """Broken citations of a small repository, one of whose files has `text` at its end."""
    for file, content in PAGES.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(content, encoding="utf-8")
    with (tmp_path / name).open("a", encoding="utf-8") as stream:
        stream.write(text)
    return broken_citations(tmp_path)


def test_what_can_be_followed_is_not_named(tmp_path: Path) -> None:
    assert planted(tmp_path, "data.yaml", "") == []


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("tool.py", "# docs/gone.md", "there is no page docs/gone.md"),
        ("tool.py", "# docs/notes.md#third", "docs/notes.md has no heading #third"),
        ("tool.py", "# gone.md#third", "there is no page gone.md"),
        ("tool.py", "# raven.md 6.3", "raven.md is not in the repository"),
        ("data.yaml", "# house.md", "house.md is not in the repository"),
        ("docs/notes.md", "[a](gone.md)", "there is no page gone.md"),
        ("docs/notes.md", "[a](README.md)", "there is no page README.md"),
        ("docs/notes.md", "[a](#third)", "notes.md has no heading #third"),
        ("docs/notes.md", "[a](tool.py)", "the link tool.py leads nowhere"),
        ("tool.py", "# arXiv 2605.1519", "'arXiv 2605.1519' is not of the form arXiv NNNN.NNNNN"),
        ("tool.py", "# arXiv2605.15190", "'arXiv2605.15190' is not of the form arXiv NNNN.NNNNN"),
        ("tool.py", "# arxiv.org/abs/1", "'arxiv.org/abs/1' is not of the form arXiv NNNN.NNNNN"),
    ],
)
def test_what_nobody_can_follow_is_named(tmp_path: Path, name: str, text: str, error: str) -> None:
    line = PAGES[name].count("\n") + 1
    assert planted(tmp_path, name, text) == [f"{name}:{line}: {error}"]
