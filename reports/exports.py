"""The tables of the report as Markdown and LaTeX (booktabs). Pure."""

import re
from collections.abc import Sequence

from evaluation.aggregate import RANKED_KINDS, TOTALS
from evaluation.dimensions import DIMENSIONS, BoundsName
from evaluation.files import control_character, one_line
from evaluation.metrics import CUSTOM_GROUP
from evaluation.records import Interval, RowSummary, ScoresTable
from reports.tables import TOTAL_NAMES, MainLine, Mark, main_table, metric_marks, metric_value, suite_kind

_SPECIAL = {c: "\\" + c for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "*": "{*}",  # behind the end of a line they belong to it
}  # fmt: skip


_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>|&$~^@#]|:(?=//)|(?<=www)\.|!(?=\[)", re.IGNORECASE)
"""What begins markup, HTML, mathematics, a citation or a link in Markdown, Pandoc's and GitHub's too."""


def latex_text(text: str) -> str:
    """LaTeX that prints any text. Control characters and line breaks become blanks."""
    plain = re.sub(r"\s+", " ", "".join(" " if control_character(c) else c for c in text))
    return "".join(_SPECIAL.get(c, c) for c in plain)


def markdown_text(text: str) -> str:
    """Markdown, in a cell or within a line, that shows any text as it is."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))


def markdown_number(interval: Interval | None, mark: Mark) -> str:
    """`84.96 [83.1, 86.2]`, bold if best, underlined if second; or a dash."""
    if interval is None:
        return "-"
    text = f"{interval.mean:.2f} [{interval.low:z.1f}, {interval.high:z.1f}]"
    return f"**{text}**" if mark == "best" else f"<u>{text}</u>" if mark == "second" else text


def latex_number(interval: Interval | None, mark: Mark = None, digits: int = 2) -> str:
    """The value with its interval as an index, bold if best, underlined if second."""
    if interval is None:
        return "--"
    value = f"{interval.mean:.{digits}f}"
    command = {"best": r"\mathbf", "second": r"\underline"}.get(mark or "")
    shown = f"{command}{{{value}}}" if command else value
    return f"${shown}_{{[{interval.low:z.1f},\\,{interval.high:z.1f}]}}$"


def markdown(table: ScoresTable, bounds: BoundsName) -> str:
    """The main table as Markdown, with the suite and the meaning of marks and brackets."""
    marks = metric_marks(table)
    lines = [
        *([f"**{markdown_text(table.subset)}**", ""] if table.subset else []),
        f"| rank | row | kind | {TOTAL_NAMES[bounds]} | Quality | Semantic | note |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in main_table(table).lines:
        row = line.summary
        values = [markdown_number(metric_value(row, m), marks[m].get(row.row)) for m in TOTALS]
        cells = [str(line.rank or "-"), markdown_text(row.label), row.kind, *values]
        lines.append(f"| {' | '.join(cells)} | {markdown_text(line.unranked or row.incomplete or '')} |")
    lines += [
        "",
        f"Suite {markdown_text(table.suite)}, {suite_kind(table)}; brackets: 95 % intervals over prompts, "
        f"{table.draws} draws. Bold: above every other row by the paired test with Holm's correction; "
        "underlined: below that one alone. Ranks: all that these tests leave open.",
    ]
    return "\n".join(lines) + "\n"


def _booktabs(table: ScoresTable, head: Sequence[str], blocks: Sequence[Sequence[Sequence[str]]]) -> str:
    """A tabular of blocks of lines of cells. Its comments say what a reader of the source needs to know."""
    lines = [
        r"% \usepackage{booktabs}; UTF-8",
        f"% suite {latex_text(table.suite)}, {suite_kind(table)}",
        f"% indices: 95 % intervals over prompts, {table.draws} draws",
        "% bold: above every other row by the paired test with Holm's correction, 5 %; underlined: below "
        "that one alone",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
    ]
    for block in blocks:
        if block:
            lines += [r"\midrule", *(" & ".join(cells) + r" \\" for cells in block)]
    lines.append(r"\bottomrule")
    if table.subset is not None:
        said = rf"{{p{{\linewidth}}}}{{\footnotesize {latex_text(table.subset)}}}"
        lines.append(rf"\multicolumn{{{len(head)}}}{said} \\")
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def latex(table: ScoresTable, bounds: BoundsName) -> str:
    """The main table as a booktabs tabular. Values are marked only where they stand alone."""
    marks, main = metric_marks(table), main_table(table)

    def cells(line: MainLine) -> list[str]:
        row = line.summary
        values = [latex_number(metric_value(row, m), marks[m].get(row.row)) for m in TOTALS]
        return [latex_text(row.label), *values, (str(line.rank or "--")).replace(" to ", "--")]

    parts = (main.ranked + main.incomplete, main.apart, main.controls)
    blocks = [[cells(line) for line in lines] for lines in parts]
    return _booktabs(table, ["Method", TOTAL_NAMES[bounds], "Quality", "Semantic", "Rank"], blocks)


def dimensions_latex(table: ScoresTable) -> str:
    """All dimensions, normalised, as a booktabs tabular with a column for each row but the controls."""
    marks = metric_marks(table)
    rows = [row for row in table.rows if row.kind in RANKED_KINDS]

    def cell(row: RowSummary, name: str) -> str:
        return latex_number(metric_value(row, name), marks[name].get(row.row), 1)

    shown: list[tuple[str, str, str]] = [
        (d.name, d.title, d.group) for d in DIMENSIONS if d.name in table.dimensions
    ]
    shown += [(custom.name, latex_text(f"{custom.title} (custom)"), CUSTOM_GROUP) for custom in table.custom]
    blocks = [
        [[title, *(cell(row, name) for row in rows)] for name, title, its in shown if its == group]
        for group in ("quality", "semantic", CUSTOM_GROUP)
    ]
    return _booktabs(table, ["Dimension", *(latex_text(row.label) for row in rows)], blocks)
