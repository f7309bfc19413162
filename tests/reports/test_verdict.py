"""The verdict claims what the corrected tests support, in every case that a table can be in, and the first
screen's numbers follow from the scores of single clips.
"""

import itertools
import re
from html import unescape
from typing import NamedTuple

import numpy as np
import pytest

from evaluation.aggregate import RANKED_KINDS, AggregateSettings, RowLabel, ranks_by_row
from evaluation.dimensions import DIMENSIONS, NAMES
from evaluation.records import (
    ClipScore,
    DimensionResult,
    Interval,
    Needed,
    PairedDifference,
    Prompt,
    RowSummary,
    ScoresTable,
    TablePower,
    clip_id,
)
from reports.page import render_section
from reports.run import Run
from reports.sections.methods import methods_markdown
from reports.terminal import terminal_text
from reports.verdict import verdict_of
from reports.words import p_text
from tests.evaluation.made_up import FILES, INPUTS, aggregate
from tests.reports import synthetic

Totals = dict[str, float | None]
"""Total of each row, None of a row that is incomplete."""


def made_table(totals: Totals, different: str) -> ScoresTable:
    """Rows with these totals. different: pairs with p = 0.001 (`a:b a:c`), the others have 0.5; intervals
    reach half a point around a difference, or to both sides of zero.
    """

    def around(value: float, half: float = 0.5) -> Interval:
        return Interval(mean=value, low=value - half, high=value + half)

    parted = {frozenset(pair.split(":")) for pair in different.split()}
    complete = {row: value for row, value in totals.items() if value is not None}
    pairs = []
    for a, b in itertools.combinations(complete, 2):
        apart, found = frozenset((a, b)) in parted, complete[a] - complete[b]
        interval = around(found, 0.5 if apart else abs(found) + 0.5)
        pairs.append(
            PairedDifference(
                a=a, b=b, metric="total", difference=interval, corrected=interval,
                p_value=0.001 if apart else 0.5, holm=0.001 if apart else 0.5, prompts=40,
            )
        )  # fmt: skip
    ranks = ranks_by_row(pairs, list(complete))
    rows = [
        RowSummary(
            row=row, label=row.upper(), kind="native", dimensions={}, ranks=ranks.get(row, {}),
            incomplete="15 of 16 dimensions scored; missing: scene" if value is None else None,
            **{name: None if value is None else around(value) for name in ("total", "quality", "semantic")},
        )
        for row, value in totals.items()
    ]  # fmt: skip
    return ScoresTable(
        suite="toybox", inputs=FILES, benchmark="toybox", dimensions=NAMES, rows=tuple(rows),
        pairs=tuple(pairs), draws=2000, seed=0,
    )  # fmt: skip


CASES: dict[str, tuple[Totals, str, list[str]]] = {
    "no row": ({}, "", ["No model leads: none has a Toybox-Total."]),
    "one row": (
        {"a": 80.0}, "", ["A alone has a Toybox-Total (80.00): there is nothing to compare it with."],
    ),
    "none complete": (
        {"a": None, "b": None}, "",
        [
            "No model leads: none has a Toybox-Total.",
            "Not ranked: A and B (15 of 16 dimensions scored; missing: scene).",
        ],
    ),
    "two, one better": (
        {"a": 80.0, "b": 82.0}, "a:b", ["B leads by 2.00 points [1.50, 2.50] over A (p = 0.001)."],
    ),
    "two, a tie": (
        {"a": 80.0, "b": 80.3}, "",
        [
            "No model leads: B, at the top, is not distinguishable from A (+0.30 points [-0.50, 1.10], "
            "p = 0.500)."
        ],
    ),
    "all alike": (
        {"a": 80.0, "b": 80.0, "c": 80.0}, "",
        ["No model leads: all three models have the same Toybox-Total, 80.00."],
    ),
    "no two parted": (
        {"a": 80.0, "b": 80.3, "c": 80.1}, "",
        [
            "No model leads: no two of three models are distinguishable. B, at the top, is not "
            "distinguishable from C (+0.20 points [-0.50, 0.90], p = 0.500)."
        ],
    ),
    "two at the top": (
        {"a": 80.0, "b": 80.3, "c": 70.0}, "a:c b:c",
        [
            "No model leads: B, at the top, is not distinguishable from A (+0.30 points [-0.50, 1.10], "
            "p = 0.500)."
        ],
    ),
    "tied with a lower one only": (  # the third varies more, so that the second is parted and it is not
        {"a": 82.0, "b": 81.0, "c": 80.0, "d": 79.9}, "a:b",
        [
            "No model leads: A, at the top, is not distinguishable from C (+2.00 points [-0.50, 4.50], "
            "p = 0.500) or one other."
        ],
    ),
    "one incomplete": (
        {"a": 80.0, "b": 82.0, "c": None}, "a:b",
        [
            "B leads by 2.00 points [1.50, 2.50] over A (p = 0.001).",
            "Not ranked: C (15 of 16 dimensions scored; missing: scene).",
        ],
    ),
    "raven and cm_grpo below": (
        {"a": 82.0, "raven": 80.0, "cm_grpo": 80.2, "b": 70.0}, "",
        [
            "No model leads: no two of four models are distinguishable. A, at the top, is not "
            "distinguishable from CM_GRPO (+1.80 points [-0.50, 4.10], p = 0.500).",
            "RAVEN: rank 1 to 4, not distinguishable from A (-2.00 points [-4.50, 0.50], p = 0.500).",
            "CM_GRPO: rank 1 to 4, not distinguishable from RAVEN (+0.20 points [-0.50, 0.90], p = 0.500).",
        ],
    ),
    "cm_grpo leads raven": (
        {"raven": 80.0, "cm_grpo": 82.0}, "raven:cm_grpo",
        ["CM_GRPO leads by 2.00 points [1.50, 2.50] over RAVEN (p = 0.001)."],
    ),
    "cm_grpo alone": (
        {"a": 82.0, "cm_grpo": 80.0, "b": 81.5}, "",
        [
            "No model leads: no two of three models are distinguishable. A, at the top, is not "
            "distinguishable from B (+0.50 points [-0.50, 1.50], p = 0.500).",
            "CM_GRPO: rank 1 to 3, not distinguishable from A (-2.00 points [-4.50, 0.50], p = 0.500).",
        ],
    ),
}  # fmt: skip
"""Totals, parted pairs, and all that the verdict says."""


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_says_what_the_tests_support(name: str) -> None:
    """Closed form: every case in words."""
    totals, different, said = CASES[name]
    sentences = verdict_of(made_table(totals, different)).sentences
    assert [sentence for sentence in sentences if "detectable" not in sentence] == said


def test_what_the_run_could_have_found_is_one_sentence() -> None:
    """Between the two of the headline, and the median and range of the table where it has more pairs; where
    nothing is known, that; nothing of a single row.
    """
    table = made_table({"a": 80.0, "b": 82.0}, "a:b")
    needed = (Needed(points=1.0, prompts=9, samples=None),)
    pairs = tuple(pair.model_copy(update={"detectable": 0.756}) for pair in table.pairs)
    whole = "1.23 between any two (median of 36 pairs, 1.00 to 3.00)"
    for tests, known, said in (
        (1, pairs, "0.76 points between these two"),
        (36, pairs, f"0.76 points between these two, {whole}"),
        (36, table.pairs, whole.replace("1.23", "1.23 points")),
    ):
        power = TablePower(
            tests=tests, prompts=40, samples=2.0, smallest=1.0, detectable=1.234, largest=3.0, needed=needed
        )
        found = verdict_of(table.model_copy(update={"power": power, "pairs": known})).others[0]
        assert found == f"Smallest detectable difference (80 % power): {said}."
    unknown = "Nothing is known of the smallest detectable difference: too few prompts, or all alike."
    assert verdict_of(table).others[0] == unknown
    assert verdict_of(made_table({"a": 80.0}, "")).others == ()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_leads_is_said_only_of_a_row_above_all_others(count: int) -> None:
    """Every table of up to four rows and every outcome of its tests: "leads" stands there exactly if the
    highest row is parted from all others, and a row that is named as tied is not parted from it.
    """
    totals: Totals = {row: 80.0 - place for place, row in enumerate("abcd"[:count])}
    every = [":".join(pair) for pair in itertools.combinations(totals, 2)]
    for chosen in itertools.product((False, True), repeat=len(every)):
        parted = [pair for pair, apart in zip(every, chosen, strict=True) if apart]
        said = verdict_of(made_table(totals, " ".join(parted))).headline
        assert ("leads by" in said) == all(f"a:{other}" in parted for other in list(totals)[1:])
        for tied in re.findall(r"A, at the top, is not distinguishable from (\w)", said):
            assert f"a:{tied.lower()}" not in parted
        assert ("no two" in said) == (not parted and count > 2)


def test_p_values_are_never_rounded_over_the_level() -> None:
    """A rejected test must not read as p = 0.050, nor any as 0."""
    assert [p_text(p) for p in (0.0, 0.001, 0.0496, 0.0494, 0.05, 1.0)] == [
        "p < 0.001", "p = 0.001", "p < 0.05", "p = 0.049", "p = 0.050", "p = 1.000",
    ]  # fmt: skip


def test_clips_of_others_are_no_recipe_and_no_protocol(finished_run: Run) -> None:
    """Guards raven-bench score: where every row is imported, no word says how clips were made or trained."""
    rows = [
        row.model_copy(update={"kind": "import", "total": None, "incomplete": "5 of 16", "ranks": {}})
        for row in finished_run.table.rows
        if row.kind in RANKED_KINDS
    ]
    table = finished_run.table.model_copy(update={"rows": tuple(rows), "pairs": ()})
    settings = finished_run.settings.model_copy(update={"label": "Clips of others"})
    run = finished_run.model_copy(update={"table": table, "settings": settings})
    html = render_section(run, "header")
    assert html.count("toybox checkers on clips made elsewhere") == 1
    assert "No clip was made in this run" in html
    assert not [word for word in ("tiny models", "trained", "recipe") if word in html]
    assert "toybox checkers on clips made elsewhere" in terminal_text(run)


def test_the_first_screen_names_what_it_shows(finished_run: Run) -> None:
    """Badge, date, commit and counts; every ranked row with total and ranks; a tie is said in words too."""
    html = render_section(finished_run, "header")
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())
    prompts = len(finished_run.prompts)
    commit = finished_run.provenance["commit"][:7]
    assert html.count("recipe (toy): tiny models, not the published checkpoints") == 1
    assert f"2026-01-01 \u00b7 commit {commit}" in text
    assert f"5 models \u00d7 {prompts} prompts \u00d7 2 seeds \u00b7 every model trained once" in text
    for row in finished_run.table.rows:
        if row.kind in RANKED_KINDS:
            assert row.total is not None
            assert f"{row.label} {row.total.mean:.2f} rank {row.ranks['total']} " in text
    pairs = tuple(
        pair.model_copy(update={"holm": 1.0, "corrected": pair.corrected})
        for pair in finished_run.table.pairs
    )
    table = finished_run.table.model_copy(update={"pairs": pairs})
    tied = render_section(finished_run.model_copy(update={"table": table}), "header")
    assert tied.count('<small class="tie">tie</small>') == tied.count('<circle class="tie"') == 4
    assert "differs" not in re.sub(r'<p class="quiet".*', "", tied, flags=re.DOTALL)


def test_the_first_screen_says_how_long_clips_are_and_which_code_made_them(finished_run: Run) -> None:
    """Guards against "81 frames" of a minute of video, and "commit not a g" of an unpacked archive."""
    config = finished_run.settings.config
    minute = config | {"clip": config["clip"] | {"pixel_frames": 957}}
    settings = finished_run.settings.model_copy(update={"config": minute})
    archive = finished_run.provenance | {"commit": "not a git checkout", "dirty": None}
    run = finished_run.model_copy(update={"settings": settings, "provenance": archive})
    html = render_section(run, "header")
    assert "Procedural videos of 957 frames of" in html
    assert "2026-01-01 &middot; not a git checkout &middot; 5 models" in html
    assert "raven-bench (not a git checkout), with" in methods_markdown(run)
    official = run.model_copy(update={"settings": settings.model_copy(update={"bounds": "vbench"})})
    assert "They last 957 frames at 16 fps (59.81 s). Only" in render_section(official, "header")


def test_a_long_table_shows_the_highest_and_ours(finished_run: Run) -> None:
    """Ten of thirteen rows, and RAVEN at the end of them; the others are counted. One row needs no table."""
    totals: Totals = {f"m{n}": 80.0 - n for n in range(12)} | {"raven": 50.0}
    table = made_table(totals, " ".join(f"{row}:raven" for row in totals if row != "raven"))
    html = render_section(finished_run.model_copy(update={"table": table}), "header")
    shown = re.findall(r'<th scope="row">(\w+)</th>', html)
    assert shown == [*(f"M{n}" for n in range(10)), "RAVEN"]
    assert '2 more in <a href="#scores">' in html
    assert "RAVEN: rank 13, 30.00 points [29.50, 30.50] below M0 (p = 0.001)." in html
    for few in ({"a": 80.0}, {"a": None}):
        alone = finished_run.model_copy(update={"table": made_table(few, "")})
        assert "<table" not in render_section(alone, "header")


class World(NamedTuple):
    """A simulated suite: what each row is truly worth, in points above the average row on every dimension."""

    leads: dict[str, float]
    said: str
    """What the headline says, as a pattern."""
    saturated: str | None = None
    """A dimension on which every clip of every row is perfect."""
    incomplete: str | None = None
    """A row that was never scored on scene."""


NINE = "abcdefghi"
WORLDS = {
    "one clear winner": World({"a": 4.0} | dict.fromkeys(NINE[1:], 0.0), r"A leads by .* over [B-I]"),
    "all equal": World(dict.fromkeys(NINE, 0.0), "No model leads: no two of nine models"),
    "two clusters": World(
        dict.fromkeys(NINE[:4], 5.0) | dict.fromkeys(NINE[4:], 0.0),
        r"No model leads: [A-D], at the top, is not distinguishable from [A-D] \(.*\) or two others\.",
    ),
    "one saturated dimension": World(
        {"a": 4.0} | dict.fromkeys(NINE[1:], 0.0),
        r"A leads by .* over [B-I]",
        saturated="object_class",
    ),
    "one incomplete row": World(
        {"a": 8.0, "b": 4.0} | dict.fromkeys(NINE[2:], 0.0),
        r"B leads by .* over [C-I]",
        incomplete="a",
    ),
}


def simulated(world: World, seed: int) -> ScoresTable:
    """96 prompts in four kinds, two samples each: a prompt's difficulty is shared by all rows, clips vary."""
    random = np.random.default_rng(seed)
    listed = [
        Prompt(id=f"{kind}_{n:02d}", prompt="", extended="", dimensions=served, samples=2, facts={})
        for kind, served in synthetic.KINDS.items()
        for n in range(24)
    ]
    hard = {(p.id, name): random.normal(0, 0.1) for p in listed for name in p.dimensions}
    results = []
    for row, lead in world.leads.items():
        for d in (d for d in DIMENSIONS if (row, d.name) != (world.incomplete, "scene")):
            low, high = (bound / 100 for bound in d.toybox)
            clips = tuple(
                ClipScore(
                    clip_id=clip_id(p.id, sample), prompt_id=p.id, sample=sample,
                    value=1.0 if d.name == world.saturated else low + (high - low) * float(np.clip(
                        0.5 + lead / 100 + hard[p.id, d.name] + random.normal(0, 0.05), 0, 1)),
                )
                for p in listed if d.name in p.dimensions for sample in range(2)
            )  # fmt: skip
            mean = float(np.mean([clip.value for clip in clips]))
            results.append(
                DimensionResult(
                    inputs=INPUTS,
                    suite="toybox",
                    row=row,
                    dimension=d.name,
                    kind="exact",
                    mean=mean,
                    clips=clips,
                )
            )
    rows = {row: RowLabel(label=row.upper(), kind="native") for row in world.leads}
    settings = AggregateSettings(bounds="toybox", dimensions=NAMES, draws=2000, seed=seed, rows=rows)
    return aggregate("toybox", listed, results, [], settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_the_verdict_is_true_in_simulated_runs(name: str) -> None:
    """Where the truth is known: the headline says it, the true rank lies in every range, every corrected
    interval holds the true difference, and differences beyond what the run can find are found. Of ten runs
    at most two may fail, since all of a run's tests together are wrong 5 times of 100.
    """
    world, right = WORLDS[name], 0
    for seed in range(10):
        table = simulated(world, seed)
        worth = {row: lead for row, lead in world.leads.items() if row != world.incomplete}
        lost = 0.2 / 9 if world.saturated else 0.0  # a saturated dimension's share of the total
        said = re.match(world.said, verdict_of(table).headline) is not None
        ranks = all(
            row.ranks["total"].first <= 1 + sum(other > worth[row.row] for other in worth.values())
            and row.ranks["total"].last >= sum(other >= worth[row.row] for other in worth.values())
            for row in table.rows
            if row.row in worth
        )
        held = found = True
        for pair in (pair for pair in table.pairs if pair.metric == "total"):
            truth = (1 - lost) * (worth[pair.a] - worth[pair.b])
            assert pair.detectable is not None
            held &= pair.corrected.low - 1e-9 <= truth <= pair.corrected.high + 1e-9
            found &= pair.holm < 0.05 or abs(truth) < 1.5 * pair.detectable
        right += said and ranks and held and found
        absent = [row.label for row in table.rows if row.incomplete]
        unranked = [sentence for sentence in verdict_of(table).others if "Not ranked" in sentence]
        assert unranked == [f"Not ranked: {x} (15 of 16 dimensions scored; missing: scene)." for x in absent]
    assert right >= 8


TAUGHT: list[tuple[Totals, str, str]] = [
    ({"a": 79.0, "t": 83.0}, "a:t", "A minus its teacher T, -4.00 points [-4.50, -3.50], p = 0.001."),
    (
        {"a": 79.0, "b": 81.0, "c": 82.9, "d": 84.0, "t": 83.0}, "a:t b:t d:t",
        "teacher T; two of four models stand below it, by 2.00 (B) to 4.00 (A) points; not distinguishable "
        "from it: C; above it: D.",
    ),
    ({"a": 79.0, "b": 81.0, "t": 83.0}, "a:t", "one of two models stands below it, by 4.00 (A) points; not"),
    ({"a": 79.0, "b": 81.0, "t": 83.0}, "", "teacher T; not distinguishable from it: B and A."),
    (
        {"a": 79.0, "b": 81.0, "c": 82.9, "d": 82.0, "t": 83.0}, "a:t",
        "one of four models stands below it, by 4.00 (A) points; three models are not distinguishable from "
        "it.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "different", "sentence"), TAUGHT)
def test_what_distillation_cost_is_one_sentence(rows: Totals, different: str, sentence: str) -> None:
    """The teacher is named in it alone, without its settings: it is neither ranked nor at the top."""
    table = made_table(rows, different)
    label = "T, 50 steps, first sample of each prompt"
    teacher = table.rows[-1].model_copy(update={"kind": "teacher", "ranks": {}, "label": label})
    table = table.model_copy(update={"rows": (*table.rows[:-1], teacher)})
    said = verdict_of(table)
    (cost,) = [one for one in said.others if one.startswith("Cost of distillation: ")]
    assert sentence in cost
    assert not any("T, 50" in one for one in said.sentences)
    incomplete = teacher.model_copy(update={"total": None, "incomplete": "15 of 16"})
    table = table.model_copy(update={"rows": (*table.rows[:-1], incomplete)})
    assert not [one for one in verdict_of(table).sentences if "distillation" in one]


def test_teachers_that_are_called_alike_are_told_apart() -> None:
    """Guards against one name for two: those of one size differ in what stands behind their comma."""
    table = made_table({"a": 79.0, "t": 83.0, "u": 84.0}, "a:t a:u")
    labels = {"t": "T, 50 steps", "u": "T, 100 steps"}
    rows = [
        row.model_copy(update={"kind": "teacher", "ranks": {}, "label": labels[row.row]})
        if row.row in labels
        else row
        for row in table.rows
    ]
    said = " ".join(verdict_of(table.model_copy(update={"rows": tuple(rows)})).others)
    assert all(f"A minus its teacher {label}, " in said for label in labels.values())
