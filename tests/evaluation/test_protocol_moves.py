"""Totals under other choices of a protocol: closed forms, a naive reference, and what is missing."""

import random

import pytest

from evaluation.aggregate import NO_SUBSET_TOTAL, AggregateSettings, RowLabel, aggregate
from evaluation.dimensions import DIMENSIONS, NAMES
from evaluation.finished_run import check_second
from evaluation.metrics import metrics
from evaluation.records import (
    ClipScore,
    DimensionResult,
    FilteredPrompt,
    FilteredSet,
    Prompt,
    Protocol,
    clip_id,
)
from evaluation.second_scores import seen_prompts
from tests.evaluation.made_up import FILES, INPUTS, protocol_moves

SAMPLES, STILL_SAMPLES, KEEP = 3, 6, 2
OTHER = tuple(name for name in NAMES if name != "temporal_flickering")


def listed(others: int = 4, still: int = 2) -> list[Prompt]:
    """Prompts of all dimensions but flickering, and still ones that are filtered."""
    kinds = [("p", OTHER, SAMPLES, None, others), ("s", ("temporal_flickering",), STILL_SAMPLES, KEEP, still)]
    return [
        Prompt(
            id=f"{kind}{n}", prompt=f"{kind} {n}", extended="long", dimensions=dimensions, samples=samples,
            keep=keep, facts={},
        )
        for kind, dimensions, samples, keep, count in kinds
        for n in range(count)
    ]  # fmt: skip


def filter_of(row: str, prompts: list[Prompt], kept: tuple[int, ...]) -> FilteredSet:
    """Every still prompt keeps these samples."""
    static = tuple(sample in kept for sample in range(STILL_SAMPLES))
    motion = tuple(0.1 if still else 2.0 for still in static)
    return FilteredSet(
        row=row,
        inputs=INPUTS,
        threshold=1.0,
        filtered=tuple(
            FilteredPrompt(prompt_id=p.id, motion=motion, static=static, kept=kept, short=KEEP - len(kept))
            for p in prompts
            if p.keep
        ),
        kept={p.id: kept if p.keep else tuple(range(p.samples)) for p in prompts},
    )


def results_of(row, prompts, kept, value, names=NAMES, several=None) -> list[DimensionResult]:
    """Scores `value(dimension, prompt id, sample)` of every clip that counts."""
    found = []
    for name in names:
        clips = tuple(
            ClipScore(clip_id=clip_id(p.id, s), prompt_id=p.id, sample=s, value=value(name, p.id, s))
            for p in prompts
            if name in p.dimensions
            for s in (kept if p.keep else range(p.samples))
        )
        mean = sum(clip.value for clip in clips) / len(clips)
        found.append(
            DimensionResult(
                suite="s", row=row, dimension=name, inputs=INPUTS, kind="exact", mean=mean, clips=clips,
                several_processes=(several or {}).get(name),
            )
        )  # fmt: skip
    return found


def settings_of(*rows: str, bounds: str = "vbench", **more: object) -> AggregateSettings:
    asked = Protocol(prompts="extended", text="short")
    named = {row: RowLabel(label=row, kind="native", protocol=asked) for row in rows}
    named["noise"] = RowLabel(label="noise", kind="control")
    return AggregateSettings(bounds=bounds, dimensions=NAMES, draws=1000, seed=0, rows=named, **more)


def made(rows, **more):
    """The tables by choice. rows: row -> (samples kept of still prompts, value, further arguments)."""
    prompts = listed()
    results = [
        result
        for row, (kept, value, options) in rows.items()
        for result in results_of(row, prompts, kept, value, **options)
    ]
    filters = [filter_of(row, prompts, kept) for row, (kept, _, _) in rows.items()]
    settings = settings_of(*rows, **more)
    found = protocol_moves("s", prompts, results, filters, settings)
    return {table.choice: table for table in found.tables}, (prompts, results, filters, settings)


def total_of(table, row="a"):
    return next(found for found in table.rows if found.row == row)


def naive_total(means: dict[str, float]) -> float:
    """The formula, written out once more: VBench's bounds, dynamic degree half, four to one."""
    quality, semantic, weights = 0.0, [], 0.0
    for dimension in DIMENSIONS:
        low, high = dimension.vbench
        score = 100.0 * (100.0 * means[dimension.name] - low) / (high - low)
        if dimension.group == "semantic":
            semantic.append(score)
        else:
            weight = 0.5 if dimension.name == "dynamic_degree" else 1.0
            quality, weights = quality + weight * score, weights + weight
    return (4.0 * quality / weights + sum(semantic) / len(semantic)) / 5.0


def test_a_naive_reference_gives_every_choice() -> None:
    """Random scores of two rows, one filtered as if not at all: means by plain loops, the formula again."""
    values = random.Random(0)
    drawn: dict[tuple[str, str, str, int], float] = {}

    def value_of(row):
        return lambda name, prompt, s: drawn.setdefault((row, name, prompt, s), values.random() * 0.3)

    several = {"appearance_style": 0.25, "subject_consistency": 0.125}
    kept = {"a": (0, 1), "b": (2, 5)}
    tables, given = made({row: (kept[row], value_of(row), {"several": several}) for row in kept})
    prompts = given[0]
    expected: dict[tuple[str, str], float] = {}
    for row in kept:
        means: dict[str, dict[str, float]] = {choice: {} for choice in tables}
        for name in NAMES:
            still = name == "temporal_flickering"
            ids = [prompt.id for prompt in prompts if (prompt.keep is not None) == still]
            every = {p: [drawn[row, name, p, s] for s in (kept[row] if still else range(3))] for p in ids}
            plain = [value for found in every.values() for value in found]
            for choice in ("as_run", "unfiltered", "missing_as_zero"):
                means[choice][name] = sum(plain) / len(plain)
            means["first_sample"][name] = sum(found[0] for found in every.values()) / len(every)
            means["several_processes"][name] = several.get(name, means["as_run"][name])
        expected |= {(choice, row): naive_total(found) for choice, found in means.items()}
    for choice, table in tables.items():
        for row in kept:
            found = total_of(table, row)
            if (choice, row) == ("unfiltered", "b"):
                assert found.total is None
                assert found.missing == (
                    "temporal flickering was not scored on clips that the static filter left out"
                )
            else:
                assert found.total == pytest.approx(expected[choice, row], abs=1e-9)
    assert tables["first_sample"].lowest == pytest.approx(
        min(expected["first_sample", row] - expected["as_run", row] for row in kept), abs=1e-9
    )
    assert tables["unfiltered"].pairs == 0
    assert tables["unfiltered"].order == ("a",)


def test_as_run_is_the_table_of_scores() -> None:
    """The first column is nothing else than what the table of scores says; controls are left out."""
    draw = random.Random(1)
    tables, (prompts, results, filters, settings) = made(
        {row: ((1, 4), lambda *_: draw.random() * 0.3, {}) for row in "ab"}
    )
    table = aggregate("s", prompts, results, filters, settings, FILES)
    for row in table.rows[:2]:
        found = total_of(tables["as_run"], row.row)
        expected = [row.totals[name].mean for name in ("total", "quality", "semantic")]
        assert [found.total, found.quality, found.semantic] == pytest.approx(expected, abs=1e-9)
    assert [row.row for row in tables["as_run"].rows] == ["a", "b"]


def test_rows_that_change_places_are_counted() -> None:
    """`a` is best by its first samples, `b` by all: one of three pairs swaps, and `c` stays last."""
    scores = {"a": (1.0, 0.0), "b": (0.8, 0.8), "c": (0.1, 0.1)}
    tables, _ = made({
        row: ((1, 3), lambda name, p, s, f=first, r=rest: f if s == (1 if p[0] == "s" else 0) else r, {})
        for row, (first, rest) in scores.items()
    })  # fmt: skip
    as_run, first = tables["as_run"], tables["first_sample"]
    assert (as_run.order, as_run.swapped) == (("b", "a", "c"), 0)
    assert (first.order, first.pairs, first.swapped) == (("a", "b", "c"), 3, 1)
    assert first.lowest == pytest.approx(0.0, abs=1e-9)  # of rows whose samples are all alike
    assert first.highest == pytest.approx(total_of(first).total - total_of(as_run).total)


@pytest.mark.parametrize(
    ("missing", "quality"),
    [("aesthetic_quality", 100 * 5.5 / 6.5), ("subject_consistency", (550 - 100 * 14.62 / 85.38) / 6.5)],
)
def test_a_missing_dimension_is_a_raw_zero(missing: str, quality: float) -> None:
    """Closed form: all others at their ceilings. Under a floor above 0 a missing dimension costs more."""
    high = {dimension.name: dimension.vbench.high / 100 for dimension in DIMENSIONS}
    names = [name for name in NAMES if name != missing]
    tables, _ = made({"a": ((0, 1), lambda name, *_: high[name], {"names": names})})
    title = missing.replace("_", " ")
    assert total_of(tables["as_run"]).missing == f"no score of {title}"
    zero = total_of(tables["missing_as_zero"])
    assert (zero.quality, zero.semantic) == (pytest.approx(quality), pytest.approx(100.0))
    assert zero.total == pytest.approx((4 * quality + 100) / 5)
    assert (tables["missing_as_zero"].order, tables["missing_as_zero"].pairs) == (("a",), 0)


def test_rows_of_another_protocol_have_totals_and_no_place() -> None:
    """They are in no order, and move no bound of what ranked rows move by."""
    value = {"a": 0.2, "b": 0.3, "c": 0.9}
    rows = {row: ((1, 2), lambda *_, v=v: v, {}) for row, v in value.items()}
    _, (prompts, results, filters, settings) = made(rows)
    other = settings.rows["c"].model_copy(update={"protocol": Protocol(prompts="short", text="short")})
    settings = settings.model_copy(update={"rows": settings.rows | {"c": other}})
    found = protocol_moves("s", prompts, results, filters, settings).tables[0]
    assert found.order == ("b", "a")
    assert total_of(found, "c").total > total_of(found, "b").total


def test_a_subset_has_no_totals_and_no_filter_no_choice() -> None:
    """No number of a part is shown as one of the whole; a suite without still prompts has no such choice."""
    tables, _ = made({"a": ((0, 1), lambda *_: 0.5, {})}, totals=False)
    assert {total_of(table).missing for table in tables.values()} == {NO_SUBSET_TOTAL}
    prompts = [p.model_copy(update={"keep": None, "samples": SAMPLES}) for p in listed()]
    results = results_of("a", prompts, (), lambda *_: 0.5)
    found = protocol_moves("s", prompts, results, [], settings_of("a"))
    assert [table.choice for table in found.tables] == [
        "as_run", "first_sample", "several_processes", "missing_as_zero",
    ]  # fmt: skip


def test_clips_scored_once_more_fill_their_columns() -> None:
    """By the extended text two dimensions are others; without the filter the first samples count. Nothing of
    both enters the other columns.
    """
    rows = {row: ((2, 5), lambda *_, v=v: v, {}) for row, v in {"a": 0.2, "b": 0.25}.items()}
    before, (prompts, results, filters, settings) = made(rows)
    texts = {"temporal_style": 0.3, "overall_consistency": 0.1}
    second = [
        result.model_copy(update={"second": "extended_text"})
        for name, value in texts.items()
        for result in results_of("a", prompts, (), lambda *_, v=value: v, names=[name])
    ]
    seen = seen_prompts("unfiltered", prompts)
    assert [(p.samples, p.keep) for p in seen if p.id[0] == "s"] == [(KEEP, None)] * 2
    second += [
        result.model_copy(update={"second": "unfiltered"})
        for row in "ab"
        for result in results_of(row, seen, (), lambda *_: 0.7, names=["temporal_flickering"])
    ]
    found = protocol_moves("s", prompts, results, filters, settings, second=second)
    tables = {table.choice: table for table in found.tables}
    means = dict.fromkeys(NAMES, 0.2)
    assert total_of(tables["extended_text"]).total == pytest.approx(naive_total(means | texts))
    assert total_of(tables["extended_text"], "b").missing == (
        "temporal style was not scored by the extended text; overall consistency was not scored by the "
        "extended text"
    )
    unfiltered = naive_total(means | {"temporal_flickering": 0.7})
    assert total_of(tables["unfiltered"]).total == pytest.approx(unfiltered)
    assert "extended_text" not in before
    for choice in ("as_run", "first_sample", "several_processes", "missing_as_zero"):
        assert tables[choice] == before[choice]


def test_second_scorings_are_of_the_clips_that_they_should_be_of() -> None:
    """One that lacks a clip, has the filter's instead of the first, or is of other files is refused."""
    prompts = listed()
    kept = {"a": filter_of("a", prompts, (2, 5))}
    seen = seen_prompts("unfiltered", prompts)
    (right,) = results_of("a", seen, (), lambda *_: 0.7, names=["temporal_flickering"])
    right = right.model_copy(update={"second": "unfiltered"})
    files = FILES.model_copy(update={"filtered": {"a": INPUTS.filtered}})
    known = metrics("vbench")
    check_second([right], prompts, kept, known, files, {})
    (filtered,) = results_of("a", prompts, (2, 5), lambda *_: 0.7, names=["temporal_flickering"])
    for wrong, said in (
        (right.model_copy(update={"clips": right.clips[1:]}), "s0-0 is missing"),
        (filtered.model_copy(update={"second": "unfiltered"}), "s0-2 is not wanted"),
        (right.model_copy(update={"row": "b"}), "not part of this run"),
        (right.model_copy(update={"second": None}), "not part of this run"),
        (right.model_copy(update={"inputs": INPUTS.model_copy(update={"manifest": "1" * 64})}), "manifest"),
    ):
        with pytest.raises(ValueError, match=said):
            check_second([wrong], prompts, kept, known, files, {})


def test_a_tie_that_breaks_is_no_change_of_places() -> None:
    """`a` and `b` are equal as run, up to the order of sums, and differ by their first samples."""
    order = {"a": (0.1, 0.2, 0.3), "b": (0.2, 0.1, 0.3)}
    tables, _ = made({
        row: ((0, 1), lambda name, p, s, v=values: v[s], {}) for row, values in order.items()
    })  # fmt: skip
    assert tables["first_sample"].order == ("b", "a")
    assert (tables["first_sample"].pairs, tables["first_sample"].swapped) == (1, 0)
