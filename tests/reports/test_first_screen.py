"""Every number of the first screen, computed again from the scores of single clips with NumPy and SciPy.

Shares no code with reports/ and evaluation/aggregate.py: of the product it takes the table of bounds and
weights and the suite's file, and from scores.json the names of rows, draws and seed. Runs on synthetic
results, and on every finished run of this checkout (results/<suite>, CI makes one).
"""

import itertools
import json
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from scipy import optimize, stats

from evaluation.dimensions import DIMENSIONS
from tests.reports import synthetic

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
REAL = sorted(path.parent.parent for path in RESULTS.glob("*/aggregate/scores.json"))
LEVEL = 0.05
SMALL = 20
MINUS = {"above": 1, "below": -1}
FEW = 8
MODELS = ("native", "external", "import")
WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip


class Pair(NamedTuple):
    mean: float
    low: float
    high: float
    holm: float
    detectable: float | None


class Row(NamedTuple):
    """A total, with its bootstrap draws, the influence of each prompt, and prompts of any one dimension."""

    total: float
    draws: Any
    influence: Any
    fewest: int


class Again(NamedTuple):
    """All that the first screen may say."""

    total: dict[str, float]
    """Of models and controls, by label, as everything here."""
    ranks: dict[str, tuple[int, int]]
    pairs: dict[tuple[str, str], Pair]
    """In both directions."""
    controls: dict[str, tuple[int, int, int]]
    """Models that a control is above, not distinguishable from, below."""
    teachers: dict[str, dict[str, Pair]]
    """Of each teacher, every model minus it, on the samples that the teacher has."""
    few: dict[str, int]
    """Prompts of the model that has fewest, by title of the dimension, where they are few."""
    models: int
    """With and without a total."""
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

    few: dict[str, int] = {}

    def estimated(row: dict[str, Any], samples: int | None = None) -> Row | None:
        """samples: of each prompt, the first so many alone; None: all."""
        files = {d.name: folder / "scores" / row["row"] / f"{d.name}.result.json" for d in DIMENSIONS}
        if row["incomplete"] or not all(path.is_file() for path in files.values()):
            return None
        total, draws, influence, counted = 0.0, np.zeros(table["draws"]), np.zeros(len(ids)), []
        for d in DIMENSIONS:
            low, high = d.bounds(table["benchmark"])
            group = [other.weight for other in DIMENSIONS if other.group == d.group]
            share = {"quality": 0.8, "semantic": 0.2}[d.group] * d.weight / sum(group)
            sums, counts = np.zeros(len(ids)), np.zeros(len(ids))
            for clip in json.loads(files[d.name].read_text(encoding="utf-8"))["clips"]:
                if samples is None or clip["sample"] < samples:
                    place = ids.index(clip["prompt_id"])
                    sums[place] += clip["value"]
                    counts[place] += 1
            mean = sums.sum() / counts.sum()
            total += share * 100 * (100 * mean - low) / (high - low)
            drawn = (weights @ sums) / (weights @ counts)
            draws += share * 100 * (100 * drawn - low) / (high - low)
            influence += share * 1e4 / (high - low) * (sums - mean * counts) / counts.sum()
            counted.append(int((counts > 0).sum()))
        return Row(total, draws, influence, min(counted))

    listed = {row["label"]: row for row in table["rows"]}
    kinds = {label: row["kind"] for label, row in listed.items()}
    every = {label: found for label, row in listed.items() if (found := estimated(row)) is not None}
    for row in (row for row in table["rows"] if row["kind"] in MODELS):
        for d in DIMENSIONS:
            path = folder / "scores" / row["row"] / f"{d.name}.result.json"
            if path.is_file():
                clips = json.loads(path.read_text(encoding="utf-8"))["clips"]
                found = len({clip["prompt_id"] for clip in clips})
                if found < min(FEW, few.get(d.title, FEW)):
                    few[d.title] = found

    asked = sum(bool(set(p["dimensions"]) & set(table["dimensions"])) for p in prompts.values())
    floor = 2 / 2 ** min(asked, 60)

    def tested(compared: list[tuple[str, str]], rows: dict[str, Row]) -> dict[tuple[str, str], Pair]:
        """One family of tests, in both directions."""
        p_values, errors = [], []
        for a, b in compared:
            difference = rows[a].influence - rows[b].influence
            variances = {s: len(m) / (len(m) - 1) * ((difference[m] - difference[m].mean()) ** 2).sum()
                         for s, m in members.items() if len(m) > 1}  # fmt: skip
            variance = sum(variances.values())
            df = (
                variance**2 / sum(v**2 / (len(members[s]) - 1) for s, v in variances.items())
                if variance
                else 1
            )
            errors.append((variance**0.5, max(1.0, min(df, asked - 1))))
            if min(rows[a].fewest, rows[b].fewest) < SMALL:
                assert variance > 0, "no case here"
                p = 2 * stats.t.sf(abs(rows[a].total - rows[b].total) / variance**0.5, errors[-1][1])
            else:
                drawn = rows[a].draws - rows[b].draws
                p = 2 * (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / (len(drawn) + 1)
            p_values.append(float(min(1.0, max(p, floor))))

        pairs: dict[tuple[str, str], Pair] = {}
        for n, (a, b) in enumerate(compared):
            mean, (se, df), adjusted = rows[a].total - rows[b].total, errors[n], holm(p_values)[n]
            if min(rows[a].fewest, rows[b].fewest) < SMALL:
                half = stats.t.ppf(1 - LEVEL / len(compared) / 2, df) * se
                low, high = mean - half, mean + half
            else:
                tails = [50 * LEVEL / len(compared), 100 - 50 * LEVEL / len(compared)]
                low, high = np.percentile(rows[a].draws - rows[b].draws, tails)
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

    models = [label for label in every if kinds[label] in MODELS]
    compared = list(itertools.combinations(models, 2))
    pairs, controls, teachers = tested(compared, every), {}, {}
    for control in (label for label in every if kinds[label] == "control"):
        beside = tested([(model, control) for model in models], every)
        apart = [beside[control, model] for model in models if beside[control, model].holm < LEVEL]
        above = sum(pair.mean > 0 for pair in apart)
        controls[control] = above, len(models) - len(apart), len(apart) - above
    for teacher in (label for label in every if kinds[label] == "teacher"):
        samples = listed[teacher]["samples"]
        cut = {label: estimated(listed[label], samples) for label in [*models, teacher]}
        beside = tested([(model, teacher) for model in models], {k: v for k, v in cut.items() if v})
        teachers[teacher] = {model: beside[model, teacher] for model in models}

    def beaten(row: str, sign: int) -> int:
        return sum(pairs[row, o].holm < LEVEL and sign * pairs[row, o].mean > 0 for o in models if o != row)

    starts = folder / "starts.jsonl"
    return Again(
        total={label: row.total for label, row in every.items()},
        ranks={row: (1 + beaten(row, -1), len(models) - beaten(row, 1)) for row in models},
        pairs=pairs,
        controls=controls,
        teachers=teachers,
        few=few,
        models=sum(kind in MODELS for kind in kinds.values()),
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


def count(word: str) -> int:
    """Of a count in words or digits."""
    return int(word) if word.isdigit() else WORDS.index(word)


def check_distillation(said: str, teacher: str, minus: dict[str, Pair]) -> None:
    """The sentence says of every model the side of the teacher that its test says, and the two ends."""
    one = re.fullmatch(rf"Cost of distillation: (.*) minus its teacher (.*), {POINTS}, {P}\.", said)
    if one is not None:
        ((model, pair),) = minus.items()
        assert one[1] == model
        assert teacher.startswith(one[2])
        check_points(pair, one.groups()[2:])
        return
    sides: dict[str, dict[str, float]] = {"below": {}, "same": {}, "above": {}}
    for model, pair in minus.items():
        side = "same" if pair.holm >= LEVEL else "below" if pair.mean < 0 else "above"
        sides[side][model] = pair.mean
    below = sorted(sides["below"].items(), key=lambda item: -item[1])
    parts = re.fullmatch(
        rf"Cost of distillation: teacher ([^;]*)(?:; (\w+) of (\w+) models stands? below it, by {NUMBER} "
        rf"\((.*?)\)(?: to {NUMBER} \((.*?)\))? points)?((?:; [^;]*)*)\.", said
    )  # fmt: skip
    assert parts is not None, said
    named, below_count, of, least, first, most, last, rest = parts.groups()
    assert teacher.startswith(named)
    assert bool(least) == bool(below)
    if below:
        assert (count(below_count), count(of)) == (len(below), len(minus))
        assert (first, last) == (below[0][0], below[-1][0] if len(below) > 1 else None)
        assert float(least) == pytest.approx(-below[0][1], abs=0.00501)
        assert float(most or least) == pytest.approx(-below[-1][1], abs=0.00501)
    beside = rest.split("; ")[1:]
    for side, words in (("same", "not distinguishable from it"), ("above", "above it")):
        models = [model for model, pair in sorted(minus.items(), key=lambda item: -item[1].mean)
                  if model in sides[side]]  # fmt: skip
        named = f"{words}: {' and '.join(models)}"
        expected = named if len(models) <= 2 else f"{WORDS[len(models)]} models are {words}"
        assert (expected in beside) == bool(models), said
        beside = [part for part in beside if part != expected]
    assert beside == []


def check_label(said: str, found: Again, hidden: int, folder: Path) -> None:
    """The paragraph below the table: models that it lacks, dimensions of few prompts, what the clips are."""
    unread = said
    more = re.search(r"(\d+) more in the table of scores", unread)
    assert (int(more[1]) if more else 0) == hidden
    few = re.search(rf"Fewer than {FEW} prompts, so that intervals and tests say little: (.*?)\. ", unread)
    listed = re.findall(r"(\w[\w ]*) \((\d+)\)", few[1]) if few else []
    assert {title.lower(): int(prompts) for title, prompts in listed} == found.few
    suite = json.loads((folder / "aggregate" / "scores.json").read_text(encoding="utf-8"))["suite"]
    config = yaml.safe_load((ROOT / f"workflow/config/{suite}.yaml").read_text(encoding="utf-8"))
    clip, model = config["clip"], config["model"]
    made, shown = 4 * model["latent_width"], f"{clip['width']} x {clip['height']}"
    size = f"{made} x {4 * model['latent_height']} pixels, upscaled to {shown}"
    clips = (
        f"Procedural videos of {clip['pixel_frames']} frames of {size}, tiny models (about 1 M parameters)"
    )
    assert clips in unread
    said_here = [match[0] for match in (more, few) if match]
    for text in (clips, "(about 1 M parameters)", "(Holm over all pairs, 5 %)", *said_here):
        unread = unread.replace(text, "")
    for label in sorted(found.ranks, key=len, reverse=True):
        unread = unread.replace(label, "")
    assert not re.search(r"\d", unread), f"numbers that nobody computed again: {unread}"


def git(*words: str) -> str:
    """What git says of this checkout."""
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def check_first_screen(folder: Path, commits: set[str]) -> None:
    """Every number of the page's header is one that follows from the clips.

    commits: by one of which the page may have been made.
    """
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

    # What distillation cost: every model against a teacher, in a family of tests of its own
    costs = re.findall(r"Cost of distillation: .*?\.(?= +[A-Z]| *$)", unread)
    assert len(costs) == len(found.teachers)
    for cost, (teacher, minus) in zip(costs, found.teachers.items(), strict=True):
        check_distillation(cost, teacher, minus)
        unread = unread.replace(cost, "")

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
    terminal = (folder / "verdict.txt").read_text(encoding="utf-8").splitlines()
    told = [line for line in terminal if line.startswith("Warning")]
    assert told == ([warned[0].replace(" :", ":")] if warned else [])
    for label in order:
        unread = unread.replace(label, "")
    assert not re.search(r"\d", unread), f"numbers that nobody computed again: {unread}"

    # The line of facts
    facts = plain(html.split("<h1>")[0])
    seeds = " or ".join(map(str, sorted(found.seeds)))
    said = rf"commit (\w{{7}})( with changes)? \u00b7 {found.models} models \u00d7 {found.prompts:,} prompts"
    stated = re.search(rf"{said} \u00d7 {seeds} seed{'' if seeds == '1' else 's'}\b", facts)
    assert stated is not None, facts
    assert stated[1] in {commit[:7] for commit in commits}
    assert found.date is None or found.date in facts
    check_label(plain(html.split('id="label">')[1]), found, len(order) - len(rows), folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_kind", "noise", "teacher", "others"),
    [
        (10, -0.45, None, None),
        (24, 0.09, None, None),
        (7, 0.09, 0.11, None),
        (24, -0.45, 0.0, ("longlive_infinity", "causal_forcing_framewise", "self_forcing_window21")),
    ],
    ids=["student, clear controls", "bootstrap, a warning", "few prompts, a teacher", "below the fold"],
)
def test_numbers_of_a_synthetic_run(
    per_kind: int,
    noise: float,
    teacher: float | None,
    others: tuple[str, ...] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Student's t below 20 prompts in a dimension, else the bootstrap; a control below all models, or not;
    a teacher of one sample of each prompt, above most models or among them; more models than the first screen
    shows.
    """
    monkeypatch.setattr(synthetic, "PER_KIND", per_kind)
    monkeypatch.setitem(synthetic.ROWS, "noise", ("Noise", "control", noise))
    if teacher is not None:
        synthetic.add_teacher(monkeypatch, teacher)
    if others is not None:
        synthetic.add_models(monkeypatch, *others)
    scores = synthetic.make_results(tmp_path, embedded=0, without=("rolling_forcing", "scene"), draws=3000)
    synthetic.run_script(tmp_path, scores, synthetic.report_settings())
    check_first_screen(tmp_path, {git("rev-parse", "HEAD")})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("Warning from the controls" in page) == (noise > 0)
    assert ("Cost of distillation" in page) == (teacher is not None)
    assert (f"Fewer than {FEW} prompts" in page) == (per_kind < FEW)
    assert ("more in <a" in page) == (others is not None)


@pytest.mark.slow
@pytest.mark.parametrize("folder", REAL, ids=[folder.name for folder in REAL])
def test_numbers_of_a_run(folder: Path) -> None:
    """A finished run of this checkout, which was started from a commit, or has been reported on since."""
    page = folder / "report.html"
    if not page.is_file() or 'id="verdict-table"' not in page.read_text(encoding="utf-8"):
        pytest.skip("this run's report has no table of models: older code made it, or no row has a total")
    starts = folder / "starts.jsonl"
    begun = {start["commit"] for start in lines(starts)} if starts.is_file() else set()
    check_first_screen(folder, {git("rev-parse", "HEAD"), *begun})
