"""Hostile texts (hostile_texts.py) are refused where they are read, or plain text in every export."""

import csv
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from pydantic import TypeAdapter, ValidationError

from baselines.foreign import Declared, ExternalBaseline, ImportBaseline
from baselines.native import Baseline
from baselines.strict_yaml import PlainLine, Section, validate_strict
from evaluation.custom.declaration import read_declaration
from evaluation.files import control_character, plain_text
from evaluation.results import FORMULAS, csv_text
from reports.beside import exports_of
from reports.citations import bibtex
from reports.exports import latex_text, markdown_text
from reports.page import render_page
from reports.run import Run
from reports.sections.methods import methods, methods_keys
from tests.reports import synthetic
from tests.reports.hostile_texts import HOSTILE, REFUSED
from tests.reports.synthetic import run_of
from tests.reports.test_texts import balanced, braces
from workflow.planning.suite import ReportPlan, Suite, TrainPlan


class TitleAlone(Section):
    """A file with a title."""

    title: PlainLine


@pytest.fixture(scope="module")
def hostile_runs(finished: Path) -> list[tuple[list[str], Run]]:
    """Runs whose labels, citations, licences, note, units and reasons are hostile, with those texts."""
    texts, made = list(HOSTILE.values()), []
    rows = synthetic.report_settings()["rows"]
    for first in range(0, len(texts), len(rows)):
        own = dict(zip(rows, (texts[first:] + texts)[: len(rows)], strict=True))
        kinds = {
            name: dict.fromkeys(("label", "citation", "licence", "note"), text) for name, text in own.items()
        }
        some = next(iter(own.values()))
        found = run_of(finished, rows={n: row | kinds[n] for n, row in rows.items()}, note=some, label=some)
        lines = [row.model_copy(update={"label": own.get(row.row, row.label)}) for row in found.table.rows]
        lines[-1] = lines[-1].model_copy(update={"incomplete": some, "total": None})
        table = found.table.model_copy(update={"rows": tuple(lines), "subset": some})
        made.append((list(own.values()), found.model_copy(update={"table": table})))
    return made


def without_latex(text: str) -> str:
    """What LaTeX prints of escaped text; braces, commands and comments that are left are faults."""
    text = text.replace("{[}", "[").replace("{*}", "*")
    names = {"textasciitilde": "~", "textasciicircum": "^", "textbackslash": "\\", "textless": "<"}
    names |= {"textgreater": ">", "textbar": "|"}
    parts = re.findall(r"\\(?:([a-z]+)\{\}|([&%$#_{}]))|([^\\&%$#_{}~^<>|])|(.)", text, re.DOTALL)
    assert not [odd for *_, odd in parts if odd], text
    return "".join(names.get(name, "") or sign or plain for name, sign, plain, _ in parts)


@pytest.mark.parametrize(("what", "text"), HOSTILE.items(), ids=HOSTILE.keys())
def test_a_hostile_text_is_escaped_in_every_form(what: str, text: str) -> None:
    """Against parsers of the formats: CSV, Markdown with HTML, LaTeX and BibTeX show the text and no more."""
    assert plain_text(text) == text
    shown = " ".join(text.split())
    ((cell, other),) = csv.reader(csv_text(pd.DataFrame({text: [text], "x": [-1]}), None).splitlines()[1:])
    assert cell.removeprefix("'") == text and other == "-1"
    assert not cell.strip().startswith(FORMULAS)
    assert without_latex(latex_text(text)).strip() == shown
    for form in (f"**Title.** {markdown_text(text)}", f"| {markdown_text(text)} |\n| --- |"):
        (*_, line) = [t for t in MarkdownIt("gfm-like", {"linkify": False}).parse(form) if t.type == "inline"]
        kinds = {child.type for child in line.children or []}
        assert kinds <= {"text", "text_special", "strong_open", "strong_close"}, (what, kinds)
        said = "".join(child.content for child in line.children or [])
        assert said.removeprefix("Title.").strip() == shown
        assert not re.search(r"\w://|www\.|(?<!\\)[@$]", form)
    entry = bibtex(["row_mine"], {"mine": text})
    note = re.fullmatch(r"@misc\{row_mine,\n  note = \{(.*)\},\n\}\n", entry)
    assert note and without_latex(note[1]) == shown.translate(str.maketrans("{}", "()"))
    assert not re.search(r"[{}]", re.sub(r"\\text[a-z]+\{\}|\{[\[*]\}", "", note[1]))


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_a_text_that_is_no_plain_line_is_refused(text: str, tmp_path: Path) -> None:
    """Of a baseline, a suite, a custom dimension and an acceptance, with file and key."""
    with pytest.raises(ValueError, match="title"):
        validate_strict({"title": text}, TitleAlone, where="mine.yaml")
    rest = 'UNIT = "u"\nWORST = 0.0\nBEST = 1.0\nBENCHMARKS = ("toybox",)\ndef score(frames, prompt): ...\n'
    (tmp_path / "d.py").write_text(f"TITLE = {text!a}\n{rest}")
    with pytest.raises(ValueError, match=r"d\.py: TITLE (holds the control character|has \d+ characters)"):
        read_declaration(tmp_path / "d.py")


def test_every_kind_of_text_is_asked_for_a_plain_line() -> None:
    """Guards against a new text of a row, a suite or its report that reaches the page unchecked."""
    for section, names in {
        Baseline: ("title", "licence", "citation"),
        ExternalBaseline: ("title", "licence", "citation"),
        ImportBaseline: ("title", "licence", "citation"),
        Declared: ("noise", "seeds", "precision", "encoder"),
        Suite: ("label",),
        ReportPlan: ("note",),
        TrainPlan: ("title",),
    }.items():
        for name in names:
            field: Any = section.model_fields[name]
            kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            with pytest.raises(ValidationError, match="control character"):
                TypeAdapter(kind).validate_python("a\x1bb")


class Elements(HTMLParser):
    """Counts elements and collects text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.said: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.found.update(f"{tag} {name}" for name, _ in attrs if name.startswith("on"))

    def handle_data(self, data: str) -> None:
        self.said.append(data)


@pytest.mark.slow
def test_hostile_texts_are_texts_on_the_page_and_beside_it(
    finished_run: Run, hostile_runs: list[tuple[list[str], Run]]
) -> None:
    """The page has the elements of a plain run, LaTeX balances, tables have their columns."""
    plain = Elements(render_page(finished_run)).found
    for texts, found in hostile_runs:
        page = Elements(render_page(found))
        for name in ("script", "h1", "img", "iframe", "style", "object", "link", "meta"):
            assert page.found[name] == plain[name], name
        assert not [name for name in page.found if " on" in name]
        said = " ".join(" ".join(page.said).split())
        assert all(" ".join(text.split()) in said for text in texts)
        for export in exports_of(found):
            content = export.text(found) if export.text else ""
            lines = content.splitlines()
            if export.name.endswith(".tex"):
                balanced(content)
                assert not [line for line in lines if line.lstrip()[:1] in ("[", "*")]
            if export.name.endswith(".csv"):
                rows = list(csv.reader(lines))
                assert {len(row) for row in rows} == {len(rows[0])}
                begun = {cell.strip() for row in rows for cell in row if cell.strip().startswith(FORMULAS)}
                assert all(re.fullmatch(r"-[\d.]+", cell) for cell in begun), "only numbers below 0"
            if export.name == "table.md":
                found_cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line[:1] == "|"}
                assert found_cells == {8}
            if export.name == "methods.md":
                titles = [part.title for part in methods(finished_run)]
                assert re.findall(r"^\*\*(.*?)\.\*\*", content, re.MULTILINE) == titles
            if export.name.endswith(".bib"):
                braces(content)
                assert methods_keys(found) == re.findall(r"^@\w+\{(\w+),", content, re.MULTILINE)
            if export.name == "verdict.txt":
                assert not control_character(content.replace("\n", ""))
