"""Normalisation, totals and refusals of the aggregate stage."""

import json
import random

import numpy as np
import pytest
from scipy import stats

from evaluation.aggregate import AggregateSettings, check_result, totals
from evaluation.dimensions import BY_NAME, DIMENSIONS, NAMES
from evaluation.files import file_sha256
from evaluation.finished_run import check_table
from evaluation.metrics import metrics
from evaluation.records import (
    ClipScore,
    DimensionResult,
    FilteredSet,
    Inputs,
    Prompt,
    ScoresTable,
    clip_id,
    read_json,
    write_json,
    write_jsonl,
)
from evaluation.results import csv_text, table_frame
from evaluation.selection import first_samples
from evaluation.static_filter import Judgement, filtered_set
from evaluation.variance import VarianceTable
from tests.evaluation.made_up import INPUTS, aggregate

KNOWN = metrics("toybox")

# Self-Aligned Forcing paper, table 6 (per dimension) and table 1 (Total, Quality, Semantic), as read in
# reports/README.md#published-totals-as-a-check.
PUBLISHED = {
    "Self Forcing": (
        [
            95.09,
            96.10,
            99.01,
            98.24,
            66.38,
            65.79,
            69.71,
            93.16,
            87.19,
            96.40,
            86.83,
            81.77,
            56.13,
            20.34,
            24.45,
            26.85,
        ],
        (83.80, 84.59, 80.64),
    ),
    "LongLive": (
        [
            96.98,
            96.92,
            99.35,
            98.79,
            40.83,
            67.03,
            69.18,
            96.28,
            86.49,
            95.80,
            90.79,
            80.56,
            58.79,
            20.42,
            24.16,
            26.61,
        ],
        (83.22, 83.68, 81.37),
    ),
    "Causal Forcing": (
        [
            95.48,
            95.86,
            99.22,
            97.53,
            84.44,
            66.63,
            70.31,
            95.17,
            87.82,
            96.00,
            86.16,
            80.98,
            55.00,
            20.53,
            24.72,
            26.65,
        ],
        (84.88, 85.93, 80.67),
    ),
}


def make_prompts(count: int = 24) -> list[Prompt]:
    """Prompts of two kinds: even ones serve the seven quality dimensions and three more, the odd the rest."""
    first = (*tuple(d.name for d in DIMENSIONS if d.group == "quality"), "color", "object_class", "scene")
    second = (*tuple(name for name in NAMES if name not in first), "color")
    return [
        Prompt(
            id=f"p{i:02d}",
            prompt=f"prompt {i}",
            extended="long",
            dimensions=(first, second)[i % 2],
            samples=2,
            facts={},
        )
        for i in range(count)
    ]


def make_result(row: str, dimension: str, prompts: list[Prompt], value) -> DimensionResult:
    """A result with `value(prompt number, sample)` for every expected clip."""
    clips = tuple(
        ClipScore(clip_id=clip_id(p.id, s), prompt_id=p.id, sample=s, value=value(int(p.id[1:]), s))
        for p in prompts
        if dimension in p.dimensions
        for s in range(p.samples if p.keep is None else p.keep)
    )
    mean = sum(clip.value for clip in clips) / len(clips)
    return DimensionResult(
        inputs=INPUTS, suite="toybox", row=row, dimension=dimension, kind="exact", mean=mean, clips=clips
    )


def make_settings(
    rows: dict[str, str], bounds: str = "toybox", dimensions: tuple[str, ...] = NAMES
) -> AggregateSettings:
    named = {row: {"label": row.title(), "kind": kind} for row, kind in rows.items()}
    return AggregateSettings.model_validate(
        {"bounds": bounds, "dimensions": dimensions, "draws": 640, "seed": 0, "rows": named}
    )


def scale(name: str) -> float:
    """Normalised points per raw point of a dimension in the toybox table."""
    return KNOWN[name].scale


def noisy(lead: float):
    """Values around 0.5 + lead that share their noise between rows, as clips of one noise source do."""
    return lambda prompt, sample: 0.5 + lead + 0.3 * np.sin(prompt * 12.9898 + sample * 78.233)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows_give_their_printed_totals(name):
    """Golden: sixteen published raw scores in, the totals printed in the same paper out, within 0.02."""
    raw, printed = PUBLISHED[name]
    normalised = {n: np.asarray(metrics("vbench")[n].normalise(v)) for n, v in zip(NAMES, raw, strict=True)}
    assert totals(normalised) == pytest.approx(printed, abs=0.02)


def test_published_rows_through_the_whole_stage():
    """The same, from per-clip records: the table is in percent and uses the official bounds."""
    prompts = make_prompts()
    raw, printed = PUBLISHED["LongLive"]
    results = [
        make_result("longlive", n, prompts, lambda p, s, v=v: v / 100)
        for n, v in zip(NAMES, raw, strict=True)
    ]
    (row,) = aggregate("toybox", prompts, results, [], make_settings({"longlive": "native"}, "vbench")).rows
    assert (row.total.mean, row.quality.mean, row.semantic.mean) == pytest.approx(printed, abs=0.02)
    assert row.dimensions["scene"].raw.mean == pytest.approx(58.79)
    assert all(cell.raw.low < cell.raw.mean < cell.raw.high for cell in row.dimensions.values())
    assert row.total.low < row.total.mean < row.total.high, "12 equal prompts do not prove the others equal"
    assert row.incomplete is None


def test_constants():
    """Guards the table: 16 rows, 7 quality of weight 6.5 in all, 9 semantic."""
    assert len(DIMENSIONS) == 16
    assert sum(d.weight for d in DIMENSIONS if d.group == "quality") == 6.5
    assert sum(d.weight for d in DIMENSIONS if d.group == "semantic") == 9
    assert BY_NAME["dynamic_degree"].weight == 0.5


def test_a_missing_dimension_is_no_zero():
    """VBench's script counts it as 0 (83.80 would become 81.65); here there is no total, and the reason names
    it.
    """
    prompts = make_prompts()
    results = [make_result("raven", n, prompts, noisy(0)) for n in NAMES if n != "human_action"]
    table = aggregate("toybox", prompts, results, [], make_settings({"raven": "native", "absent": "native"}))
    row, absent = table.rows
    assert row.total is row.quality is row.semantic is None
    assert "15 of 16" in row.incomplete
    assert "human_action" in row.incomplete
    assert absent.dimensions == {}
    assert "0 of 16" in absent.incomplete
    assert not any(pair.metric == "total" or "absent" in (pair.a, pair.b) for pair in table.pairs)
    with pytest.raises(ValueError, match="human_action"):
        totals({n: np.asarray(1.0) for n in NAMES if n != "human_action"})


def change(result: DimensionResult, clips) -> DimensionResult:
    mean = sum(clip.value for clip in clips) / len(clips)
    return result.model_copy(update={"clips": tuple(clips), "mean": mean})


def test_results_with_wrong_clips_stop():
    """Each error stops with a message naming row, dimension and clip."""
    prompts = make_prompts(4)
    good = make_result("raven", "color", prompts, noisy(0))
    check_result(good, prompts, None, KNOWN["color"])
    first = good.clips[0]
    stray = first.model_copy(update={"clip_id": "p99-0", "prompt_id": "p99"})
    third = first.model_copy(update={"clip_id": "p00-2", "sample": 2})
    errors = {
        "color result of row raven does not hold.*p00-0 is missing": good.clips[1:],
        "counts clip p00-0 twice": (*good.clips, first),
        "p99-0 is not wanted": (*good.clips, stray),
        "p00-2 is not wanted": (*good.clips, third),
        "value 1.5, outside 0..1": (first.model_copy(update={"value": 1.5}), *good.clips[1:]),
        "frames for some clips only": (first.model_copy(update={"frame_values": (0.5,)}), *good.clips[1:]),
        "value nan": (first.model_copy(update={"value": float("nan")}), *good.clips[1:]),
    }
    for sentence, clips in errors.items():
        with pytest.raises(ValueError, match=sentence):
            check_result(change(good, clips), prompts, None, KNOWN["color"])
    with pytest.raises(ValueError, match="says its mean"):
        check_result(good.model_copy(update={"mean": good.mean + 0.01}), prompts, None, KNOWN["color"])


def static_case(kept: dict[str, tuple[int, ...]], row: str = "a") -> FilteredSet:
    return FilteredSet(row=row, inputs=INPUTS, threshold=0.5, filtered=(), kept=kept)


def static_result(row: str, values: dict[str, float]) -> DimensionResult:
    clips = tuple(
        ClipScore(clip_id=c, prompt_id=c.split("-")[0], sample=int(c.split("-")[1]), value=v)
        for c, v in values.items()
    )
    mean = sum(values.values()) / max(len(values), 1)
    return DimensionResult(
        inputs=INPUTS,
        suite="toybox",
        row=row,
        dimension="temporal_flickering",
        kind="exact",
        mean=mean,
        clips=clips,
    )


STATIC = [
    Prompt(
        id=f"p{i}",
        prompt="s",
        extended="s",
        dimensions=("temporal_flickering",),
        samples=25,
        keep=2 if i < 4 else None,
        facts={},
    )
    for i in range(4)
]


def test_filtered_prompts_need_exactly_the_kept_clips():
    """A row is scored on what its own filter kept, no more and no less, and never without a filter."""
    result = static_result("a", {"p0-3": 0.9, "p0-24": 0.8, "p2-1": 0.7})
    kept = static_case({"p0": (3, 24), "p1": (), "p2": (1,), "p3": ()})
    check_result(result, STATIC, kept, KNOWN["temporal_flickering"])
    with pytest.raises(ValueError, match="p3-7 is missing"):
        check_result(result, STATIC, static_case({**kept.kept, "p3": (7,)}), KNOWN["temporal_flickering"])
    with pytest.raises(ValueError, match="p2-1 is not wanted"):
        check_result(result, STATIC, static_case({**kept.kept, "p2": ()}), KNOWN["temporal_flickering"])
    for absent in (None, static_case(kept.kept, row="b")):
        with pytest.raises(ValueError, match="no static filter of row a"):
            check_result(result, STATIC, absent, KNOWN["temporal_flickering"])


def test_rows_are_compared_on_common_prompts_only():
    """Filters keep different prompts. Row b has the hard prompt p3, row a has not; else they are equal."""
    same = {"p0-0": 0.9, "p1-0": 0.8, "p2-0": 0.7}
    results = [static_result("a", same), static_result("b", {**same, "p3-0": 0.0}), static_result("none", {})]
    kept = {"p0": (0,), "p1": (0,), "p2": (0,)}
    filters = [static_case({**kept, "p3": ()}), static_case({**kept, "p3": (0,)}, "b")]
    filters.append(static_case(dict.fromkeys(("p0", "p1", "p2", "p3"), ()), "none"))
    settings = make_settings(
        {"a": "native", "b": "native", "none": "native"}, dimensions=("temporal_flickering",)
    )
    table = aggregate("toybox", STATIC, results, filters, settings)
    (pair,) = table.pairs
    assert (pair.difference.mean, pair.p_value, pair.prompts) == (0.0, 1.0, 3)
    assert pair.difference.low == pytest.approx(-pair.difference.high), "three prompts are no proof"
    assert pair.difference.high > 100.0
    a, b, none = table.rows
    assert a.dimensions["temporal_flickering"].raw.mean == pytest.approx(80)
    assert b.dimensions["temporal_flickering"].raw.mean == pytest.approx(60)
    assert none.dimensions == {}
    assert "no clip passed the static filter" in none.incomplete


def test_too_few_draws_stop():
    """With 500 draws no p-value could survive Holm's correction over 16 tests: every row would look tied."""
    few = make_settings({"raven": "native"}, dimensions=("color",)).model_copy(update={"draws": 500})
    prompts = make_prompts(4)
    with pytest.raises(ValueError, match="at least 640"):
        aggregate("toybox", prompts, [make_result("raven", "color", prompts, noisy(0))], [], few)


def test_foreign_and_repeated_results_stop():
    """A result of another suite, row or dimension, or given twice, is not silently dropped."""
    prompts = make_prompts(4)
    good = make_result("raven", "color", prompts, noisy(0))
    settings = make_settings({"raven": "native"}, dimensions=("color",))
    for wrong in (good.model_copy(update={"suite": "vbench"}), good.model_copy(update={"row": "other"})):
        with pytest.raises(ValueError, match="not part of this run"):
            aggregate("toybox", prompts, [wrong], [], settings)
    with pytest.raises(ValueError, match="given twice"):
        aggregate("toybox", prompts, [good, good], [], settings)
    other = good.model_copy(update={"row": "b", "kind": "stand-in"})
    both = make_settings({"raven": "native", "b": "native"}, dimensions=("color",))
    with pytest.raises(ValueError, match="different kinds"):
        aggregate("toybox", prompts, [good, other], [], both)


@pytest.fixture(scope="module")
def compared() -> tuple[list[Prompt], list[DimensionResult], ScoresTable]:
    """Three rows: b leads a by 0.02 everywhere, c equals a; and a control."""
    prompts = make_prompts()
    leads = {"a": 0.0, "b": 0.02, "c": 0.0, "noise": -0.15}
    results = [make_result(row, n, prompts, noisy(lead)) for row, lead in leads.items() for n in NAMES]
    settings = make_settings({"a": "native", "b": "native", "c": "native", "noise": "control"})
    return prompts, results, aggregate("toybox", prompts, results, [], settings)


def test_pairs_share_their_draws(compared):
    """A constant lead has an interval of no width, although each row's own interval is wide; controls are not
    ranked.
    """
    _, _, table = compared
    pairs = {(p.a, p.b, p.metric): p for p in table.pairs}
    assert len(pairs) == (3 + 3) * 19  # of two models, and of a model and the control
    lead = pairs["a", "b", "total"]
    gap = float(totals({name: np.asarray(2.0 * scale(name)) for name in NAMES}).total)
    assert (lead.difference.low, lead.difference.high) == pytest.approx((-gap, -gap), abs=1e-6)
    assert lead.holm == pytest.approx(2 * lead.p_value * 1.5)
    assert lead.holm < 0.05
    assert pairs["a", "c", "total"].p_value == 1.0
    rows = {row.row: row for row in table.rows}
    assert rows["a"].total.high - rows["a"].total.low > 2
    assert rows["b"].total.low < rows["a"].total.high


def test_more_samples_do_not_help_where_rows_share_their_seeds():
    """A lead that depends on the prompt alone: the seeds of both rows cancel clip by clip, so that no number
    of them finds what one does not.
    """
    prompts = make_prompts()
    leads = {"a": lambda p: 0.0, "b": lambda p: 0.01 * np.sin(7.0 * p)}
    results = [
        make_result(row, n, prompts, lambda p, s, lead=lead: noisy(lead(p))(p, s))
        for row, lead in leads.items()
        for n in NAMES
    ]
    table = aggregate("toybox", prompts, results, [], make_settings(dict.fromkeys(leads, "native")))
    (pair,) = [pair for pair in table.pairs if pair.metric == "total"]
    assert 0.5 < pair.detectable < 1.0
    assert [need.samples for need in pair.needed] == [None, None, 1]


def test_what_a_run_could_have_shown(compared):
    """Rows that share all their noise: the pair that differs by it and nothing else tells nothing; Total
    alone has a plan, and only where there are two rows.
    """
    prompts, results, table = compared
    noise = {"a": 0.3, "b": 0.1, "c": -0.3}
    others = [
        make_result(
            row, n, prompts, lambda p, s, k=k: 0.5 + k * np.sin(p * 12.9898 + s * 78.233) * np.cos(p * k)
        )
        for row, k in noise.items()
        for n in NAMES
    ]
    settings = make_settings(dict.fromkeys(noise, "native"))
    found = aggregate("toybox", prompts, others, [], settings)
    assert {pair.metric for pair in found.pairs if pair.needed} == {"total"}
    pairs = [pair for pair in found.pairs if pair.metric == "total"]
    sizes = sorted(pair.detectable for pair in pairs)
    assert (found.power.smallest, found.power.detectable, found.power.largest) == tuple(sizes)
    assert (found.power.tests, found.power.prompts, found.power.samples) == (3, 24, 2.0)
    for pair in pairs:
        half = (pair.difference.high - pair.difference.low) / 2
        assert 1.3 * half < pair.detectable < 2.2 * half  # 2.8 to 3.3 errors, beside t's 2.07
        assert [need.points for need in pair.needed] == [0.2, 0.5, 1.0]
        assert sorted((need.prompts for need in pair.needed), reverse=True) == [
            n.prompts for n in pair.needed
        ]
        assert all((need.prompts <= 24) == (need.points >= pair.detectable) for need in pair.needed)
    same = next(p for p in table.pairs if (p.a, p.b, p.metric) == ("a", "c", "total"))
    assert (same.detectable, {need.prompts for need in same.needed}) == (None, {None})
    alone = aggregate(
        "toybox", prompts, [r for r in results if r.row == "a"], [], make_settings({"a": "native"})
    )
    assert alone.power is None


def test_a_control_is_compared_with_every_model_and_changes_no_test_of_two(compared):
    """Guards a control that is ranked, one whose tests make those of the models weaker, and two controls that
    share a family.
    """
    prompts, results, table = compared
    models = {"a": "native", "b": "native", "c": "native"}
    without = aggregate(
        "toybox", prompts, [r for r in results if r.row != "noise"], [], make_settings(models)
    )
    assert table.pairs[: len(without.pairs)] == without.pairs
    assert table.rows[:3] == without.rows
    assert not table.rows[3].ranks
    added = {(p.a, p.b, p.metric): p for p in table.pairs[len(without.pairs) :]}
    assert set(added) == {(a, "noise", m) for a in models for m in ("total", "quality", "semantic", *NAMES)}
    assert added["a", "noise", "color"].difference.mean == pytest.approx(0.15 * 100 * scale("color"))
    assert added["a", "noise", "total"].holm == pytest.approx(3 * added["a", "noise", "total"].p_value)
    twice = [*results, *(r.model_copy(update={"row": "more"}) for r in results if r.row == "noise")]
    settings = make_settings(models | {"noise": "control", "more": "control"})
    again = aggregate("toybox", prompts, twice, [], settings)
    assert again.pairs[: len(table.pairs)] == table.pairs


def test_a_teacher_of_fewer_samples_is_compared_on_those_it_has(compared):
    """The same as a run in which nobody has the others; and it changes nothing of the models. A still prompt
    keeps its static ones among them. Guards a mean of two samples against one of another.
    """
    prompts, results, table = compared
    prompts = [p.model_copy(update={"keep": 1}) if p.id == "p03" else p for p in prompts]
    models, first = {"a": "native", "b": "native"}, first_samples(prompts, 1)
    assert [(p.samples, p.keep) for p in first[2:4]] == [(1, None), (1, 1)]
    seen = {p.id: [Judgement(0.0, True)] * p.samples for p in prompts if p.keep}
    one = {p: found[:1] for p, found in seen.items()}
    results = [r for r in results if r.row in models]
    results = [change(r, [c for c in r.clips if (c.prompt_id, c.sample) != ("p03", 1)]) for r in results]
    taught = [make_result("teacher", n, first, noisy(0.07)) for n in NAMES]
    kept = [filtered_set(row, INPUTS, prompts, seen, 0.5) for row in models]
    kept.append(filtered_set("teacher", INPUTS, first, one, 0.5, samples=1))
    settings = make_settings({**models, "teacher": "teacher"})
    rows = {**settings.rows, "teacher": settings.rows["teacher"].model_copy(update={"samples": 1})}
    settings = settings.model_copy(update={"rows": rows})
    table = aggregate("toybox", prompts, [*results, *taught], kept, settings)
    alone = aggregate("toybox", prompts, results, kept[:2], make_settings(models))
    assert table.rows[:2] == alone.rows and table.pairs[: len(alone.pairs)] == alone.pairs
    assert not table.rows[2].ranks and table.rows[2].samples == 1
    cut = [change(r, [c for c in r.clips if c.sample == 0]) for r in results]
    short = [filtered_set(row, INPUTS, first, one, 0.5) for row in (*models, "teacher")]
    naive = aggregate(
        "toybox", first, [*cut, *taught], short, make_settings({**models, "teacher": "teacher"})
    )
    assert len(table.pairs) == 3 * 19

    def against(of: ScoresTable) -> list[object]:
        drop = {"detectable", "needed"}  # they know of how many samples a prompt has
        return [p.model_dump(exclude=drop) for p in of.pairs if p.b == "teacher"]

    assert against(table) == against(naive)
    by_row = {row: {r.dimension: r for r in [*results, *taught] if r.row == row} for row in rows}
    check_table(table, by_row)
    with pytest.raises(ValueError, match="a minus teacher"):
        check_table(table.model_copy(update={"rows": (*table.rows[:2], table.rows[2].model_copy(
            update={"samples": None})
        )}), by_row)  # fmt: skip
    with pytest.raises(ValueError, match=r"row teacher is of 1 samples of a prompt, expected all"):
        aggregate(
            "toybox", prompts, [*results, *taught], kept, make_settings({**models, "teacher": "teacher"})
        )


@pytest.mark.parametrize(("count", "method"), [(24, "student"), (80, "bootstrap")])
def test_the_total_interval_is_that_of_the_formula(count, method):
    """Closed form: Total is linear in prompt values, so its error is that of one weighted value per prompt
    and stratum.

    12 prompts per dimension: Student's t, exactly, with Satterthwaite's degrees of freedom. 40: the
    bootstrap, whose end points have 1 % of Monte-Carlo error at 20,000 draws.
    """
    prompts = make_prompts(count)
    results = [make_result("a", name, prompts, noisy(0)) for name in NAMES]
    settings = make_settings({"a": "native"}).model_copy(update={"draws": 20_000})
    (row,) = aggregate("toybox", prompts, results, [], settings).rows
    influence = {p.id: 0.0 for p in prompts}
    for result in results:
        d = BY_NAME[result.dimension]
        share = 0.8 * d.weight / 6.5 if d.group == "quality" else 0.2 / 9
        for clip in result.clips:
            influence[clip.prompt_id] += 100 * share * scale(d.name) * clip.value / len(result.clips)
    n = count // 2
    parts = [np.array([influence[p.id] for p in prompts[parity::2]]).var(ddof=1) * n for parity in (0, 1)]
    df = sum(parts) ** 2 / sum(part**2 / (n - 1) for part in parts)
    t = {"student": stats.t.ppf(0.975, df), "bootstrap": 1.96}[method]
    close = {"student": 1e-6, "bootstrap": 0.05}[method]
    assert (row.total.high - row.total.low) / 2 == pytest.approx(t * sum(parts) ** 0.5, rel=close)


def test_order_of_inputs_does_not_matter(compared):
    """Shuffled prompts, results and clips give the same bytes."""
    prompts, results, table = compared
    mixed = random.Random(0)
    turned = [change(r, mixed.sample(r.clips, len(r.clips))) for r in mixed.sample(results, len(results))]
    settings = make_settings({"a": "native", "b": "native", "c": "native", "noise": "control"})
    again = aggregate("toybox", mixed.sample(prompts, len(prompts)), turned, [], settings)
    assert again.model_dump_json() == table.model_dump_json()


def test_script_writes_table_and_csv(tmp_path, monkeypatch, compared):
    """The command line of the rule, in process: same table, and a CSV line per row and measure."""
    from workflow.scripts import aggregate as script

    prompts, results, table = compared
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    origin = Inputs(prompts=file_sha256(tmp_path / "prompts.jsonl"), manifest="0" * 64)
    paths, filters = [], {}
    for row in table.rows:
        filters[row.row] = tmp_path / f"{row.row}.json"
        write_json(filters[row.row], filtered_set(row.row, origin, prompts, {}, 0.5))
    for result in results:
        inputs = origin.model_copy(update={"filtered": file_sha256(filters[result.row])})
        paths.append(tmp_path / f"{result.row}-{result.dimension}.json")
        write_json(paths[-1], result.model_copy(update={"inputs": inputs}))
    settings = make_settings({"a": "native", "b": "native", "c": "native", "noise": "control"}).model_dump()
    flags = [
        "aggregate",
        "--suite",
        "toybox",
        "--prompts",
        str(tmp_path / "prompts.jsonl"),
        "--settings",
        json.dumps(settings),
    ]
    flags += [
        "--output",
        str(tmp_path / "out/scores.json"),
        "--csv",
        str(tmp_path / "out/scores.csv"),
        "--variance",
        str(tmp_path / "out/variance.json"),
        "--chunks",
        str(tmp_path / "out/chunks.json"),
        "--protocol-moves",
        str(tmp_path / "out/protocol_moves.json"),
        "--filtered",
        *map(str, filters.values()),
        "--results",
    ]
    monkeypatch.setattr("sys.argv", [*flags, *map(str, paths)])
    script.main()
    written = read_json(ScoresTable, tmp_path / "out/scores.json")
    assert written.inputs.prompts == origin.prompts
    assert written.inputs.results["b"]["color"] == file_sha256(tmp_path / "b-color.json")
    assert written.model_copy(update={"inputs": table.inputs}) == table
    lines = (tmp_path / "out/scores.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 * 19
    assert csv_text(table_frame(table), None).splitlines() == lines
    variance = read_json(VarianceTable, tmp_path / "out/variance.json")
    assert {(cell.row, cell.dimension) for cell in variance.cells} == {(r.row, r.dimension) for r in results}
