"""Every number of the first screen, computed again from the scores of single clips with NumPy and SciPy.

Shares no code with reports/ and evaluation/aggregate.py: of the product it takes the table of bounds and
weights, and from scores.json the names of rows, draws and seed. Runs on synthetic results, and on every
finished run of this checkout (results/<suite>, CI makes one).
"""

import itertools
import json
import re
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import optimize, stats

from evaluation.dimensions import DIMENSIONS
from tests.reports import synthetic

RESULTS = Path(__file__).parents[2] / "results"
REAL = sorted(path.parent.parent for path in RESULTS.glob("*/aggregate/scores.json"))
LEVEL = 0.05
SMALL = 20
MINUS = {"above": 1, "below": -1}


class Pair(NamedTuple):
    mean: float
    low: float
    high: float
    holm: float
    detectable: float | None


class Again(NamedTuple):
    """All that the first screen may say."""

    total: dict[str, float]
    """Of models and controls, by label, as everything here."""
    ranks: dict[str, tuple[int, int]]
    pairs: dict[tuple[str, str], Pair]
    """In both directions."""
    controls: dict[str, tuple[int, int, int]]
    """Models that a control is above, not distinguishable from, below."""
    prompts: int
    seeds: set[int]
    date: str | None


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def holm(p_values: list[float]) -> list[float]:
    """Straight from the definition: the largest (m - j + 1) p(j) over the tests that are not larger."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    steps = [min(1.0, (len(order) - j) * p_values[i]) for j, i in enumerate(order)]
    return [max(steps[: order.index(i) + 1]) for i in range(len(p_values))]


def faced_level(p_values: list[float], index: int) -> float:
    """The largest LEVEL / k at which this test would be rejected beside the others."""
    levels = [LEVEL / k for k in range(1, len(p_values) + 1)]
    tried = [[*p_values[:index], level * (1 - 1e-9), *p_values[index + 1 :]] for level in levels]
    return max(level for level, p in zip(levels, tried, strict=True) if holm(p)[index] < LEVEL)


def again(folder: Path) -> Again:
    """From per-clip scores to everything that the first screen shows."""
    table = json.loads((folder / "aggregate" / "scores.json").read_text(encoding="utf-8"))
    prompts = {p["id"]: p for p in lines(folder / "prompts" / "prompts.jsonl")}
    ids = sorted(prompts)
    strata = [(tuple(sorted(prompts[i]["dimensions"])), prompts[i]["keep"]) for i in ids]
    size = sorted(set(strata), key=lambda stratum: (strata.count(stratum), repr(stratum)))
    lonely = {stratum for stratum in size if strata.count(stratum) == 1}
    if len(lonely) == 1:  # joins the smallest of the others; several are one stratum together
        lonely |= set(size[1:2])
    strata = [size[0] if stratum in lonely else stratum for stratum in strata]
    generator = np.random.Generator(np.random.Philox(key=table["seed"]))
    weights = np.ones((table["draws"], len(ids)))
    members = {s: [n for n, own in enumerate(strata) if own == s] for s in sorted(set(strata), key=repr)}
    for found in (found for found in members.values() if len(found) > 1):
        n = len(found)
        drawn = generator.multinomial(n - 1, np.full(n, 1 / n), size=table["draws"])
        weights[:, found] = drawn * n / (n - 1)

    total, draws, influence, fewest = {}, {}, {}, {}
    for row in table["rows"]:
        files = {d.name: folder / "scores" / row["row"] / f"{d.name}.result.json" for d in DIMENSIONS}
        if row["incomplete"] or not all(path.is_file() for path in files.values()):
            continue
        label, counted = row["label"], []
        total[label], draws[label], influence[label] = 0.0, np.zeros(table["draws"]), np.zeros(len(ids))
        for d in DIMENSIONS:
            low, high = d.bounds(table["benchmark"])
            group = [other.weight for other in DIMENSIONS if other.group == d.group]
            share = {"quality": 0.8, "semantic": 0.2}[d.group] * d.weight / sum(group)
            sums, counts = np.zeros(len(ids)), np.zeros(len(ids))
            for clip in json.loads(files[d.name].read_text(encoding="utf-8"))["clips"]:
                place = ids.index(clip["prompt_id"])
                sums[place] += clip["value"]
                counts[place] += 1
            mean = sums.sum() / counts.sum()
            total[label] += share * 100 * (100 * mean - low) / (high - low)
            drawn = (weights @ sums) / (weights @ counts)
            draws[label] += share * 100 * (100 * drawn - low) / (high - low)
            influence[label] += share * 1e4 / (high - low) * (sums - mean * counts) / counts.sum()
            counted.append(int((counts > 0).sum()))
        fewest[label] = min(counted)

    asked = sum(bool(set(p["dimensions"]) & set(table["dimensions"])) for p in prompts.values())
    floor = 2 / 2 ** min(asked, 60)

    def tested(compared: list[tuple[str, str]]) -> dict[tuple[str, str], Pair]:
        """One family of tests, in both directions."""
        p_values, errors = [], []
        for a, b in compared:
            difference = influence[a] - influence[b]
            variances = {s: len(m) / (len(m) - 1) * ((difference[m] - difference[m].mean()) ** 2).sum()
                         for s, m in members.items() if len(m) > 1}  # fmt: skip
            variance = sum(variances.values())
            df = (
                variance**2 / sum(v**2 / (len(members[s]) - 1) for s, v in variances.items())
                if variance
                else 1
            )
            errors.append((variance**0.5, max(1.0, min(df, asked - 1))))
            if min(fewest[a], fewest[b]) < SMALL:
                assert variance > 0, "no case here"
                p = 2 * stats.t.sf(abs(total[a] - total[b]) / variance**0.5, errors[-1][1])
            else:
                drawn = draws[a] - draws[b]
                p = 2 * (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / (len(drawn) + 1)
            p_values.append(float(min(1.0, max(p, floor))))

        pairs: dict[tuple[str, str], Pair] = {}
        for n, (a, b) in enumerate(compared):
            mean, (se, df), adjusted = total[a] - total[b], errors[n], holm(p_values)[n]
            if min(fewest[a], fewest[b]) < SMALL:
                half = stats.t.ppf(1 - LEVEL / len(compared) / 2, df) * se
                low, high = mean - half, mean + half
            else:
                tails = [50 * LEVEL / len(compared), 100 - 50 * LEVEL / len(compared)]
                low, high = np.percentile(draws[a] - draws[b], tails)
                df = 1e6
            if adjusted >= LEVEL or mean < 0:
                low, high = (min(low, 0), max(high, 0)) if adjusted >= LEVEL else (low, min(high, 0))
            else:
                low = max(low, 0)
            level = faced_level(p_values, n)
            critical = stats.t.ppf(1 - level / 2, df)
            needed = optimize.brentq(lambda away, c=critical, f=df: stats.nct.sf(c, f, away) - 0.8, 0.01, 200)
            found = needed * se if floor < level else None
            pairs[a, b] = Pair(mean, low, high, adjusted, found)
            pairs[b, a] = Pair(-mean, -high, -low, adjusted, found)
        return pairs

    kinds = {row["label"]: row["kind"] for row in table["rows"]}
    models = [label for label in total if kinds[label] in ("native", "external", "import")]
    compared = list(itertools.combinations(models, 2))
    pairs, controls = tested(compared), {}
    for control in (label for label in total if kinds[label] == "control"):
        beside = tested([(model, control) for model in models])
        apart = [beside[control, model] for model in models if beside[control, model].holm < LEVEL]
        above = sum(pair.mean > 0 for pair in apart)
        controls[control] = above, len(models) - len(apart), len(apart) - above

    def beaten(row: str, sign: int) -> int:
        return sum(pairs[row, o].holm < LEVEL and sign * pairs[row, o].mean > 0 for o in models if o != row)

    starts = folder / "starts.jsonl"
    return Again(
        total=total,
        ranks={row: (1 + beaten(row, -1), len(models) - beaten(row, 1)) for row in models},
        pairs=pairs,
        controls=controls,
        prompts=len(prompts),
        seeds={p["keep"] or p["samples"] for p in prompts.values()},
        date=lines(starts)[-1]["started"][:10] if starts.is_file() else None,
    )


NUMBER = r"([+-]?\d+\.\d\d)"
POINTS = rf"{NUMBER} points \[{NUMBER}, {NUMBER}\]"
P = r"p (= [\d.]+|< 0\.05|< 0\.001)"


def check_points(pair: Pair, found: tuple[str, ...], sign: int = 1) -> None:
    """mean, low, high and p as text."""
    low, high = (pair.low, pair.high) if sign > 0 else (-pair.high, -pair.low)
    assert [float(text) for text in found[:3]] == pytest.approx([sign * pair.mean, low, high], abs=0.00501)
    if found[3].startswith("="):
        assert float(found[3][1:]) == pytest.approx(pair.holm, abs=0.000501)
    else:
        assert pair.holm < float(found[3][1:])


def plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def check_first_screen(folder: Path) -> None:
    """Every number of the page's header is one that follows from the clips."""
    html = (folder / "report.html").read_text(encoding="utf-8").split("<header>")[1].split("</header>")[0]
    found = again(folder)
    names = "|".join(re.escape(label) for label in sorted(found.ranks, key=len, reverse=True))

    # The table: totals, ranks, and differences to the highest
    body = html.split('id="verdict-table"')[1].split("<tbody>")[1].split("</tbody>")[0]
    order = sorted(found.ranks, key=lambda label: -found.total[label])
    rows = [plain(row) for row in body.split("</tr>")[:-1]]
    assert len(rows) >= min(len(order), 10)
    for label, text in zip(order, rows, strict=False):
        first, last = found.ranks[label]
        span = str(first) if first == last else f"{first} to {last}"
        head = f"{label} {found.total[label]:.2f} rank {span} "
        assert text.startswith(head)
        if label == order[0]:
            assert text == f"{head}highest"
            continue
        pair = found.pairs[label, order[0]]
        cells = re.fullmatch(rf"{NUMBER} \[{NUMBER}, {NUMBER}\]( tie)?", text.removeprefix(head))
        assert cells is not None, text
        assert [float(x) for x in cells.groups()[:3]] == pytest.approx(pair[:3], abs=0.00501)
        assert bool(cells[4]) == (pair.holm >= LEVEL)

    # The sentences: each difference belongs to the two models that it names
    said = plain(html.split("<h1>")[1].split('<table id="verdict-table"')[0])
    unread = said
    forms = [
        (rf"({names}) leads by {POINTS} over ({names}) \({P}\)", lambda m: (m[1], m[6 - 1], m[2:5], m[6])),
        (rf"({names}), at the top, is not distinguishable from ({names}) \({POINTS}, {P}\)",
         lambda m: (m[1], m[2], m[3:6], m[6])),
        (rf"({names}): rank [\d to]+, not distinguishable from ({names}) \({POINTS}, {P}\)",
         lambda m: (m[1], m[2], m[3:6], m[6])),
    ]  # fmt: skip
    checked, headline = 0, ("", "")
    for form, parts in forms:
        for match in re.finditer(form, said):
            groups = (match[0], *match.groups())
            a, b, points, p = parts(groups)
            check_points(found.pairs[a, b], (*points, p))
            assert ("leads" in match[0]) == all(
                found.pairs[a, o].holm < LEVEL and found.pairs[a, o].mean > 0 for o in order if o != a
            ) or "rank" in match[0]
            headline = headline if "rank" in match[0] else (a, b)
            unread, checked = unread.replace(match[0], ""), checked + 1
    for match in re.finditer(rf"({names}): rank [\d to]+, {POINTS} (above|below) ({names}) \({P}\)", said):
        a, *points, side, b, p = match.groups()
        check_points(found.pairs[a, b], (*points, p), MINUS[side])
        unread, checked = unread.replace(match[0], ""), checked + 1
    for match in re.finditer(rf"({names}): rank (\d+)(?: to (\d+))?,", said):
        first, last = found.ranks[match[1]]
        assert (int(match[2]), int(match[3] or match[2])) == (first, last)
    assert checked >= 1
    smallest = re.search(
        r"Smallest detectable difference \(80 % power\): ([\d.]+) points between these two, ([\d.]+) between "
        r"any two \(median of (\d+) pairs, ([\d.]+) to ([\d.]+)\)\.", unread
    )  # fmt: skip
    assert smallest is not None
    these, median, count, least, most = map(float, smallest.groups())
    told = [pair.detectable for pair in found.pairs.values() if pair.detectable is not None]
    assert these == pytest.approx(found.pairs[headline].detectable, abs=0.00501)
    assert median == pytest.approx(np.median(told), abs=0.00501)
    assert (least, most) == pytest.approx((min(told), max(told)), abs=0.00501)
    assert count == len(order) * (len(order) - 1) // 2
    unread = re.sub(r"Not ranked: .*?\)\.", "", unread.replace(smallest[0], ""))

    # The warning from the controls: the one that most models are not above, if there is one
    standing = {c: (above, tied) for c, (above, tied, _) in found.controls.items() if c != "Rendered truth"}
    worst = max((above + tied for above, tied in standing.values()), default=0)
    warned = re.search(rf"Warning from the controls : (.*) \({NUMBER}\) is (.*)\.$", unread)
    assert bool(warned) == bool(worst)
    if warned:
        above, tied = standing[warned[1]]
        assert above + tied == worst
        assert float(warned[2]) == pytest.approx(found.total[warned[1]], abs=0.00501)
        counts = re.findall(r"(above|from|below)(?: all| any of| the only)? (\d+)", warned[3])
        expected = {"above": above, "from": tied, "below": len(order) - above - tied}
        assert {word: int(n) for word, n in counts} == {word: n for word, n in expected.items() if n}
        unread = unread.replace(warned[0], "")
    for label in order:
        unread = unread.replace(label, "")
    assert not re.search(r"\d", unread), f"numbers that nobody computed again: {unread}"

    # The line of facts
    facts = plain(html.split("<h1>")[0])
    assert (
        f"\u00d7 {found.prompts:,} prompts \u00d7 {' or '.join(map(str, sorted(found.seeds)))} seed" in facts
    )
    assert found.date is None or found.date in facts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_kind", "noise"), [(10, -0.45), (24, 0.09)], ids=["student, clear controls", "bootstrap, a warning"]
)
def test_numbers_of_a_synthetic_run(
    per_kind: int, noise: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Student's t below 20 prompts in a dimension, else the bootstrap; a control below all models, or not."""
    monkeypatch.setattr(synthetic, "PER_KIND", per_kind)
    monkeypatch.setitem(synthetic.ROWS, "noise", ("Noise", "control", noise))
    scores = synthetic.make_results(tmp_path, embedded=0, without=("rolling_forcing", "scene"))
    synthetic.run_script(tmp_path, scores, synthetic.report_settings())
    check_first_screen(tmp_path)
    assert ("Warning from the controls" in (tmp_path / "report.html").read_text()) == (noise > 0)


@pytest.mark.slow
@pytest.mark.parametrize("folder", REAL, ids=[folder.name for folder in REAL])
def test_numbers_of_a_run(folder: Path) -> None:
    """A finished run of this checkout."""
    page = folder / "report.html"
    if not page.is_file() or 'id="verdict-table"' not in page.read_text(encoding="utf-8"):
        pytest.skip("this run's report has no table of models: older code made it, or no row has a total")
    check_first_screen(folder)
