"""The verdict of a run in sentences: who leads, by how much, and whether the difference is real.

The page, the terminal and the methods text all show these sentences. They claim what the corrected paired
tests support and no more.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from evaluation.intervals import LEVEL
from evaluation.records import Interval, RowSummary, ScoresTable
from reports.tables import TOTAL_NAMES, MainTable, Pairs, StudentLine, distilled, main_table
from reports.words import and_joined, count_word, p_text

FEATURED = ("raven", "cm_grpo")
"""Rows that get a sentence whatever their rank, the second beside the first, which it is trained from."""


class Verdict(NamedTuple):
    """The headline in two parts, so that a page can show the first in colour, and what else is to be said."""

    subject: str
    claim: str
    others: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The first sentence."""
        return f"{self.subject} {self.claim}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it."""
        return (self.headline, *self.others)


def points_text(found: Interval) -> str:
    """A difference with its interval: `0.90 points [0.48, 1.32]`."""
    return f"{found.mean:z.2f} points [{found.low:z.2f}, {found.high:z.2f}]"


def verdict_of(table: ScoresTable) -> Verdict:
    """The verdict on the totals of a run."""
    main, pairs = main_table(table), Pairs(table.pairs)
    subject, claim, said = _headline(main, pairs, TOTAL_NAMES[table.benchmark])
    others = [
        *_detectable(main, table, said),
        *_featured(main, pairs, said),
        *_distillation(distilled(main, pairs)),
        *_unranked(main),
    ]
    return Verdict(subject, claim, tuple(others))


def _headline(main: MainTable, pairs: Pairs, total: str) -> tuple[str, str, set[str]]:
    """Subject, claim, and the two rows whose difference they state."""
    nobody = "No model leads:"
    if not main.ranked:
        return nobody, f"none has a {total}.", set()
    rows = [line.summary for line in main.ranked]
    best, *others = rows
    means = [row.totals["total"].mean for row in rows]
    if not others:
        return (
            best.label,
            f"alone has a {total} ({means[0]:.2f}): there is nothing to compare it with.",
            set(),
        )
    tied = [row for row in others if not pairs.differ(best.row, row.row, "total")]
    other = (tied or others)[0]
    said = {best.row, other.row}
    if not tied:
        difference, p_value = _difference(pairs, best, other)
        return (
            best.label,
            f"leads by {points_text(difference)} over {other.label} ({p_text(p_value)}).",
            said,
        )
    count, stands = count_word(len(rows)), _stands(pairs, best, other)
    if max(means) - min(means) < 0.005:
        return nobody, f"all {count} models have the same {total}, {means[0]:.2f}.", set()
    if len(rows) > 2 and not any(pairs.differ(a.row, b.row, "total") for a in rows for b in rows):
        return (
            nobody,
            f"no two of {count} models are distinguishable. {best.label}, at the top, is {stands}.",
            said,
        )
    left = len(tied) - 1
    more = f" or {count_word(left)} other{'s' if left > 1 else ''}" if left else ""
    return nobody, f"{best.label}, at the top, is {stands}{more}.", said


def _difference(pairs: Pairs, a: RowSummary, b: RowSummary) -> tuple[Interval, float]:
    found = pairs.find(a.row, b.row, "total")
    assert found is not None, "all ranked rows are compared"
    return found


def _stands(pairs: Pairs, a: RowSummary, b: RowSummary) -> str:
    """`0.90 points [0.48, 1.32] below B (p < 0.001)`, or `not distinguishable from B (...)`."""
    found, p_value = _difference(pairs, a, b)
    if p_value >= LEVEL:
        sign = "+" if found.mean >= 0 else ""
        return f"not distinguishable from {b.label} ({sign}{points_text(found)}, {p_text(p_value)})"
    if found.mean > 0:
        return f"{points_text(found)} above {b.label} ({p_text(p_value)})"
    return f"{points_text(_difference(pairs, b, a)[0])} below {b.label} ({p_text(p_value)})"


def _featured(main: MainTable, pairs: Pairs, said: set[str]) -> list[str]:
    """RAVEN beside the row at the top, CM-GRPO beside RAVEN; the headline's difference is not said again."""
    lines = {line.summary.row: line for line in main.ranked}
    found, beside = [], main.ranked[0] if main.ranked else None
    for line in (lines[row] for row in FEATURED if row in lines):
        assert beside is not None, "a ranked row has a row at the top"
        if line is not beside and said != {line.summary.row, beside.summary.row}:
            stands = _stands(pairs, line.summary, beside.summary)
            found.append(f"{line.summary.label}: rank {line.rank}, {stands}.")
        beside = line
    return found


def _distillation(lines: Sequence[StudentLine]) -> list[str]:
    """What the rows lost against each teacher, which is not ranked among them. It is named without its
    settings, which its label in the tables has, unless several are called alike without them.
    """
    found = []
    names = list(dict.fromkeys(line.teacher.label for line in lines))
    shorter = {name.partition(",")[0] for name in names}
    for label, group in itertools.groupby(lines, key=lambda line: line.teacher.label):
        teacher = label.partition(",")[0] if len(shorter) == len(names) else label
        students = sorted(group, key=lambda line: -line.minus["total"][0].mean)
        begin = "Cost of distillation:"
        if len(students) == 1:
            difference, p_value = students[0].minus["total"]
            points = f"{points_text(difference)}, {p_text(p_value)}"
            found.append(f"{begin} {students[0].student.label} minus its teacher {teacher}, {points}.")
            continue
        parted = [line for line in students if line.minus["total"][1] < LEVEL]
        below = [line for line in parted if line.minus["total"][0].mean < 0]
        above = [line.student.label for line in parted if line.minus["total"][0].mean > 0]
        same = [line.student.label for line in students if line not in parted]
        said = []
        if below:
            least, most = (-line.minus["total"][0].mean for line in (below[0], below[-1]))
            to = "" if len(below) == 1 else f" to {most:z.2f} ({below[-1].student.label})"
            said.append(
                f"{count_word(len(below))} of {count_word(len(students))} models "
                f"{'stands' if len(below) == 1 else 'stand'} below it, by "
                f"{least:z.2f} ({below[0].student.label}){to} points"
            )
        said += [_of_few(same, "not distinguishable from it")] if same else []
        said += [_of_few(above, "above it")] if above else []
        found.append(f"{begin} teacher {teacher}; {'; '.join(said)}.")
    return found


def _of_few(labels: Sequence[str], what: str) -> str:
    """One or two models by name, of more how many they are: all must fit on a phone's first screen."""
    if len(labels) <= 2:
        return f"{what}: {and_joined(labels)}"
    return f"{count_word(len(labels))} models are {what}"


def _detectable(main: MainTable, table: ScoresTable, said: set[str]) -> list[str]:
    """What the run could have found at all: between the two rows of the headline, and between any two."""
    if len(main.ranked) < 2:
        return []
    if (power := table.power) is None:
        return ["Nothing is known of the smallest detectable difference: too few prompts, or all alike."]
    these = [
        f"{pair.detectable:.2f} points between these two"
        for pair in table.pairs
        if pair.metric == "total" and {pair.a, pair.b} == said and pair.detectable is not None
    ]
    any_two = (
        f"{power.detectable:.2f}{'' if these else ' points'} between any two (median of {power.tests} pairs, "
        f"{power.smallest:.2f} to {power.largest:.2f})"
    )
    parts = these if power.tests == 1 and these else [*these, any_two]
    return [f"Smallest detectable difference (80 % power): {', '.join(parts)}."]


def _unranked(main: MainTable) -> list[str]:
    """The rows without a total, or of another protocol, with the reason."""
    labels: dict[str | None, list[str]] = {}
    for line in (*main.apart, *main.incomplete):
        labels.setdefault(line.unranked, []).append(line.summary.label)
    whole = len(labels) == 1 and not main.ranked and len(main.incomplete) > 2
    reasons = [
        f"{f'all {count_word(len(rows))} models' if whole else and_joined(rows)} ({why})"
        for why, rows in labels.items()
    ]
    return [f"Not ranked: {'; '.join(reasons)}."] if reasons else []
