"""The tables of the report as Markdown, LaTeX (booktabs) and CSV. Pure."""

import re
from typing import Literal

from evaluation.aggregate import RANKED_KINDS, TOTALS, csv_text
from evaluation.dimensions import DIMENSIONS, BoundsName
from evaluation.metrics import CUSTOM_GROUP
from evaluation.records import Interval, RowSummary, ScoresTable
from reports.tables import TOTAL_NAMES, MainLine, MainTable, dimension_marks, main_table

Mark = Literal["best", "second"] | None
_SPECIAL = {c: "\\" + c for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Any text as LaTeX that prints it: special characters escaped, control characters and line breaks made
    blanks.
    """
    plain = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text)
    return "".join(_SPECIAL.get(c, c) for c in plain)


def markdown_text(text: str) -> str:
    """Any text inside one Markdown cell."""
    return " ".join(re.sub(r"([|\\`*_<>\[\]])", r"\\\1", text).split())


def number(interval: Interval | None, digits: int = 2) -> str:
    """`84.96 [83.1, 86.2]`, or a dash."""
    if interval is None:
        return "-"
    return f"{interval.mean:.{digits}f} [{interval.low:z.1f}, {interval.high:z.1f}]"


def latex_number(interval: Interval | None, mark: Mark = None, digits: int = 2) -> str:
    """The interval as an index; the value bold if best, underlined if second."""
    if interval is None:
        return "--"
    value = f"{interval.mean:.{digits}f}"
    shown = (
        rf"\mathbf{{{value}}}" if mark == "best" else rf"\underline{{{value}}}" if mark == "second" else value
    )
    return f"${shown}_{{[{interval.low:z.1f},\\,{interval.high:z.1f}]}}$"


def _all_lines(main: MainTable) -> list[MainLine]:
    return [*main.ranked, *main.incomplete, *main.controls]


def markdown(table: ScoresTable, bounds: BoundsName) -> str:
    """The main table as Markdown, with the suite and the meaning of marks and brackets."""
    marks = dimension_marks(table)

    def cell(line: MainLine, measure: str) -> str:
        text, mark = number(getattr(line, measure)), marks[measure].get(line.row)
        return f"**{text}**" if mark == "best" else f"<u>{text}</u>" if mark == "second" else text

    lines = [
        *([f"**{markdown_text(table.subset)}**", ""] if table.subset else []),
        f"| tie group | row | kind | {TOTAL_NAMES[bounds]} | Quality | Semantic | note |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in _all_lines(main_table(table)):
        group = "-" if line.group is None else str(line.group)
        values = " | ".join(cell(line, measure) for measure in TOTALS)
        note = markdown_text(line.incomplete or "")
        lines.append(f"| {group} | {markdown_text(line.label)} | {line.kind} | {values} | {note} |")
    lines += [
        "",
        f"Suite {table.suite}; brackets: 95 % intervals over prompts, {table.draws} draws. Bold: above "
        "every other row by the paired test with Holm's correction; underlined: below that one alone. "
        "Rows of one tie group cannot be told from its first.",
    ]
    return "\n".join(lines) + "\n"


def latex(table: ScoresTable, bounds: BoundsName) -> str:
    """The main table as a booktabs tabular; values are marked only where they stand alone, ranked rows bear
    their tie group.
    """
    marks = dimension_marks(table)
    lines = [
        *_latex_head(table),
        r"\begin{tabular}{lrrrr}",
        r"\toprule",
        f"Method & {TOTAL_NAMES[bounds]} & Quality & Semantic & Tie group \\\\",
        r"\midrule",
    ]
    main = main_table(table)
    for block in ([*main.ranked, *main.incomplete], list(main.controls)):
        for line in block:
            values = " & ".join(latex_number(getattr(line, m), marks[m].get(line.row)) for m in TOTALS)
            lines.append(f"{latex_text(line.label)} & {values} & {line.group or '--'} \\\\")
        if block:
            lines.append(r"\midrule")
    lines[-1] = r"\bottomrule"
    lines += _latex_subset(table, 5)
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _latex_subset(table: ScoresTable, columns: int) -> list[str]:
    """The mark of a subset run, below its table; nothing for a whole run."""
    if table.subset is None:
        return []
    return [rf"\multicolumn{{{columns}}}{{p{{\linewidth}}}}{{\footnotesize {latex_text(table.subset)}}} \\"]


def dimensions_latex(table: ScoresTable) -> str:
    """All dimensions, normalised, as a booktabs tabular: a line for each, a column for each row that is
    ranked or incomplete.
    """
    marks = dimension_marks(table)
    rows = [row for row in table.rows if row.kind in RANKED_KINDS]

    def cell(row: RowSummary, name: str) -> str:
        found = row.dimensions.get(name)
        return latex_number(None if found is None else found.normalised, marks[name].get(row.row), 1)

    lines = [*_latex_head(table), rf"\begin{{tabular}}{{l{'r' * len(rows)}}}", r"\toprule"]
    lines += ["Dimension & " + " & ".join(latex_text(row.label) for row in rows) + r" \\", r"\midrule"]
    shown: list[tuple[str, str, str]] = [
        (d.name, d.title, d.group) for d in DIMENSIONS if d.name in table.dimensions
    ]
    shown += [(custom.name, latex_text(f"{custom.title} (custom)"), CUSTOM_GROUP) for custom in table.custom]
    for group in ("quality", "semantic", CUSTOM_GROUP):
        found = [(name, title) for name, title, its in shown if its == group]
        for name, title in found:
            values = " & ".join(cell(row, name) for row in rows)
            lines.append(f"{title} & {values} \\\\")
        if found:
            lines.append(r"\midrule")
    lines[-1] = r"\bottomrule"
    lines += _latex_subset(table, 1 + len(rows))
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _latex_head(table: ScoresTable) -> list[str]:
    """What a reader of the source needs to know: packages, intervals, marks."""
    return [
        r"% \usepackage{booktabs}; UTF-8",
        f"% suite {table.suite}; indices: 95 % intervals over prompts, {table.draws} draws",
        "% bold: above every other row by the paired test with Holm's correction, 5 %; underlined: below "
        "that one alone",
    ]


def pairs_csv(table: ScoresTable) -> str:
    """One line per two rows and measure: a minus b in normalised points, its interval, p-value raw and after
    Holm, prompts.
    """
    lines = ["a,b,measure,difference,low,high,p_value,holm,prompts"]
    for pair in table.pairs:
        found = pair.difference
        lines.append(
            f"{pair.a},{pair.b},{pair.measure},{found.mean:.4f},{found.low:.4f},{found.high:.4f},{pair.p_value:.6g},{pair.holm:.6g},{pair.prompts}"
        )
    return csv_text(lines, table.subset)
