"""The report as a file: true, complete, self-contained and safe. All numbers here are synthetic
(synthetic.py).
"""

import base64
import hashlib
import json
import re
import statistics
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.records import (
    Clip,
    ClipTiming,
    Interval,
    Load,
    PairedDifference,
    ScoresTable,
    TablePower,
    parse,
    read_json,
    with_checksum,
    write_json,
)
from evaluation.variance import VarianceTable
from reports.clips_beside import beside_clips
from reports.cost import WRITTEN_LAST
from reports.page import SECTIONS, render_page, render_section
from reports.published import read_published
from reports.run import ReportSettings, Run, read_run
from reports.sections.audit import audit
from reports.sections.controls import controls_figures, said_of_controls
from reports.sections.training import training_section
from reports.speed import speed_of
from reports.view import view_of
from tests.damages import lie
from tests.reports import synthetic
from tests.reports.synthetic import run_of, run_script
from workflow.scripts import rebuild, report

RUN_SCHEMA = Path(__file__).parents[1] / "golden" / "run_schema.json"
VOID = {"meta", "link", "br", "input", "img", "path", "use", "rect", "circle", "line"}


class Page(HTMLParser):
    """Elements and text of a page; complains about tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))


def test_page_parses_and_ids_are_unique(results: tuple[Path, str]) -> None:
    """Guards against a broken template and against ids that collide between inlined figures."""
    page = Page(results[1])
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    inside = {"#" + name for name in ids}
    links = {
        attributes["href"] for _, attributes in page.elements if attributes.get("href", "").startswith("#")
    }
    assert links <= inside


def test_page_loads_nothing_from_outside(results: tuple[Path, str]) -> None:
    """No remote asset, and a policy that would refuse one; the only script is the one whose hash the policy
    names.
    """
    page = Page(results[1])
    assert "media-src data:;" in results[1]
    for tag, attributes in page.elements:
        for key in ("src", "href", "data", "poster", "action", "srcset"):
            assert re.match(r"(#|data:|$)", attributes.get(key, "")), f"<{tag} {key}={attributes.get(key)}>"
        assert not any(key.startswith("on") for key in attributes)
    assert "@import" not in results[1]
    assert not re.search(r"url\((?!#)", results[1])
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", results[1], flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_prompts_are_text_only(results: tuple[Path, str]) -> None:
    """A prompt that closes a script and opens another one shows up as text and as nothing else."""
    page = Page(results[1])
    assert not any(tag == "img" for tag, _ in page.elements)
    scripts = [facts for tag, facts in page.elements if tag == "script"]
    assert len(scripts) == 3 + 8  # pairs, clips, the script; eight prompts with clips
    assert [facts for facts in scripts if facts.get("type") != "application/json"] == [{}]
    assert "<script>alert" not in results[1]
    block = re.search(
        r'<script type="application/json" id="clip-data">(.*?)</script>', results[1], flags=re.DOTALL
    )
    assert block is not None
    data = json.loads(block.group(1))
    assert [entry["prompt"] for entry in data["prompts"][:2]] == [synthetic.INJECTION, synthetic.HOSTILE]
    first = re.search(r'<script type="application/json" id="clip-0">(.*?)</script>', results[1])
    assert first is not None
    assert set(json.loads(first.group(1))["clips"]) == set(synthetic.ROWS)


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout")  # of matplotlib, at such a label
@pytest.mark.slow
def test_names_of_rows_are_text_only(results: tuple[Path, str], tmp_path: Path) -> None:
    """A row whose label is markup, quotes and right-to-left text is shown as it is written, wherever labels
    appear.
    """
    label = synthetic.INJECTION + synthetic.HOSTILE[:60] + r" $\frac{$"
    table = read_json(ScoresTable, results[0] / "aggregate" / "scores.json")
    rows = tuple(r.model_copy(update={"label": label}) if r.row == "raven" else r for r in table.rows)
    scores = tmp_path / "scores.json"
    write_json(scores, table.model_copy(update={"rows": rows}))
    given = synthetic.report_settings()
    given["rows"]["raven"]["label"] = given["label"] = label
    settings = parse(ReportSettings, json.dumps(given), "settings")
    html = render_page(read_run(scores, results[0], settings, tmp_path))
    page = Page(html)
    assert "<script>alert" not in html
    assert not any(tag == "img" or any(key.startswith("on") for key in facts) for tag, facts in page.elements)
    assert label in {text for _, text in page.texts}
    assert sum(tag == "script" for tag, _ in page.elements) == 11


def row_text(html: str, row: str) -> str:
    found = re.search(rf'<tr data-row="{row}"[^>]*>.*?</tr>', html, flags=re.DOTALL)
    assert found is not None, f"row {row} is not in the main table"
    return " ".join(re.sub(r"<[^>]+>", " ", found.group(0)).split())


def test_every_row_is_in_the_main_table_with_its_own_numbers(results: tuple[Path, str]) -> None:
    """Numbers on the page are those of scores.json; the incomplete row has no total, and says what is
    missing.
    """
    folder, html = results
    table = read_json(ScoresTable, folder / "aggregate" / "scores.json")
    for row in table.rows:
        text = row_text(html, row.row)
        if row.row == "rolling_forcing":
            assert row.total is None
            assert "15 of 16 dimensions scored; missing: scene" in text
        else:
            assert row.total is not None
            assert f"{row.total.mean:.2f} {row.total.low:.1f} to {row.total.high:.1f}" in text
    assert "80.00" in row_text(html, "base")
    order = re.findall(r'<tr data-row="(\w+)"', html)
    assert order[0] == "cm_grpo"
    assert order[3:] == ["longlive", "rolling_forcing", "base", "truth", "noise"]
    assert "Not ranked: Rolling Forcing recipe (toy) (15 of 16 dimensions scored; missing: scene)." in html


@pytest.mark.slow
def test_published_numbers_stand_beside_official_scores_only(
    results: tuple[Path, str], finished: Path
) -> None:
    """Toy rows carry the same names as published models and must never stand beside their numbers; official
    rows do, with source and protocol; a row that no paper names says so."""
    pages = {"toybox": results[1], "vbench": render_page(run_of(finished, bounds="vbench"))}
    for page in pages.values():
        Page(page)
    assert "Published" not in pages["toybox"]
    assert "84.27" not in pages["toybox"]
    assert " 84.27 " in row_text(pages["vbench"], "self_forcing")
    box = re.search(r'<div popover id="published-self_forcing".*?</div>', pages["vbench"], flags=re.DOTALL)
    assert box is not None
    for shown in (
        "Self Forcing recipe (toy)", "RAVEN, table 1", "arXiv 2605.15190", "84.31", "arXiv 2506.08009",
        "not yet compared with the PDF",
    ):  # fmt: skip
        assert shown in box.group(0)
    assert not re.search(r'<button[^>]*popovertarget="published-truth"', pages["vbench"])


def test_statistics_are_said_in_words_and_numbers(results: tuple[Path, str]) -> None:
    """Ten prompts per kind: the small-sample method is named where it is used; spreads are those of
    variance.json.
    """
    html = results[1]
    found = html.split('id="power-table"')[1].split("</table>")[0]
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", found)).split())
    assert "spatial relationship 10 Student's t" in text
    assert "overall consistency 20 bootstrap" in text
    assert text.index("Student's t") < text.index("subject consistency")  # totals rest on small dimensions
    cells = read_json(VarianceTable, results[0] / "aggregate" / "variance.json").cells
    ranked = [c for c in cells if c.dimension == "color" and synthetic.ROWS[c.row][1] == "native"]
    middle = sorted(cell.prompt_sd for cell in ranked)[len(ranked) // 2]
    line = re.search(r"color 10 Student's t \d+ of 10 ([\d.]+) ([\d.]+) ([\d.]+) (\d+) %", text)
    assert line is not None
    pairs = read_json(ScoresTable, results[0] / "aggregate" / "scores.json").pairs
    models = {row for row, (_, kind, _) in synthetic.ROWS.items() if kind == "native"}
    told = [p.detectable for p in pairs if p.metric == "color" and p.detectable and {p.a, p.b} <= models]
    assert float(line.group(1)) == pytest.approx(statistics.median(told), abs=0.051)
    assert float(line.group(2)) == pytest.approx(middle, abs=0.051)
    assert "Any two rows, by Toybox-Total" in html


def test_what_smaller_differences_need_is_shown(results: tuple[Path, str]) -> None:
    """The table's median, then every ranked row beside the highest, as the record has them; a dash where no
    number would do; the chosen pair finds its own in the page's data.
    """
    table = read_json(ScoresTable, results[0] / "aggregate" / "scores.json")
    power = table.power
    assert power is not None
    body = results[1].split('id="needed-table"')[1].split("<tbody>")[1].split("</tbody>")[0]
    lines = [" ".join(unescape(re.sub(r"<[^>]+>", " ", line)).split()) for line in body.split("</tr>")[:-1]]

    def cells(found: TablePower | PairedDifference) -> str:
        counts = [need.prompts for need in found.needed] + [need.samples for need in found.needed]
        return " ".join([f"{found.detectable:.2f}", *("-" if n is None else f"{n:,}" for n in counts)])

    assert lines[0] == f"any two models, median of 6 pairs {cells(power)}"
    pairs = {(p.a, p.b): p for p in table.pairs if p.metric == "total"}
    assert lines[1] == (
        f"RAVEN recipe (toy) and RAVEN + CM-GRPO recipe (toy) {cells(pairs['raven', 'cm_grpo'])}"
    )
    assert len(lines) == 4
    data = re.search(r'id="pair-data">(.*?)</script>', results[1])
    assert data is not None
    needed = json.loads(data.group(1))["needed"]["raven cm_grpo"]
    assert needed == [list(need.model_dump().values()) for need in pairs["raven", "cm_grpo"].needed]


def test_speed_is_shown_only_where_it_means_something(finished_run: Run) -> None:
    """Two jobs ran beside these clips on a CPU: calls and processor seconds in the main table, no second of a
    clock, no frame rate and no figure anywhere. On a GPU seconds stand with the device's name, as measured.
    """
    rows = ("raven", "rolling_forcing")
    html = render_section(finished_run, "scores")
    assert all(" 35 0.55" in row_text(html, row) for row in rows)
    assert "FPS" not in html
    cost = render_section(finished_run, "cost")
    text = " ".join(re.sub(r"<[^>]+>", " ", cost).split())
    assert "RAVEN recipe (toy) 83 35 0.550 not measured alone: up to 2 other jobs 512 cpu" in text
    assert "against the median time" not in cost
    fast = {row: replace(found, on_gpu=True, devices=("H200",)) for row, found in finished_run.speed.items()}
    gpu = finished_run.model_copy(update={"speed": fast})
    shown = render_section(gpu, "scores")
    assert " 29.0 28.1 H200, not alone - 0.5 35" in row_text(shown, "raven")
    assert "up to 2 other jobs of this program" in shown
    assert "against the median time of a clip, all on H200" in render_section(gpu, "cost")
    mixed = fast | {"raven": replace(fast["raven"], devices=("A100",))}
    assert "against the median" not in render_section(gpu.model_copy(update={"speed": mixed}), "cost")


def test_speed_of_rows() -> None:
    """GPU memory wins over the process's; another program's clips have one time and unknown calls; medians,
    not means.
    """
    clips = [clip(f"p{i}-0") for i in range(3)]
    timings = [timing(c.clip_id, s, 1.0) for c, s in zip(clips, (1.0, 2.0, 100.0), strict=True)]
    found = speed_of(clips, timings, whole=False)
    assert found is not None
    assert (found.fps, found.fps_decoded, found.peak_mb, found.on_gpu) == (40.5, 27.0, 2048.0, True)
    assert found.first_chunk_s == 0.5
    assert (found.cpu_s, found.alone, found.timed) == (0.4, True, True)
    beside = [t.model_copy(update={"load": Load(cpu_s=0.4, others=0.02, jobs=1)}) for t in timings]
    busy = [t.model_copy(update={"load": Load(cpu_s=0.4, others=0.11, jobs=0)}) for t in timings]
    for load in (beside, busy):
        slowed = speed_of(clips, load, whole=False)
        assert slowed is not None
        assert (slowed.alone, slowed.timed) == (False, True)  # a GPU's seconds stand
    other = speed_of(clips, timings, whole=True)
    assert other is not None
    assert (other.fps, other.fps_decoded) == (None, 27.0)
    assert speed_of(clips, [], whole=False) is None
    with pytest.raises(ValueError, match="p0-0, which its manifest lacks"):
        speed_of(clips[1:], timings, whole=False)


def clip(name: str) -> Clip:
    return Clip(
        clip_id=name,
        row="a",
        prompt_id=name.split("-")[0],
        sample=0,
        file=f"mp4/{name}.mp4",
        sha256=synthetic.DIGEST,
        latents_sha256=None,
        noise="portable:x",
        weights_sha256=None,
        settings_sha256=synthetic.DIGEST,
        batch_size=1,
        pixel_frames=81,
        height=1,
        width=1,
        fps=16,
    )


def timing(name: str, sample_s: float, decode_s: float) -> ClipTiming:
    return ClipTiming(
        clip_id=name,
        row="a",
        sample_s=sample_s,
        decode_s=decode_s,
        write_s=0,
        first_frames_s=0.5,
        network_calls=35,
        peak_mb=512,
        peak_gpu_mb=2048,
        device="H200",
        attention="flash",
        load=Load(cpu_s=0.4, others=0.02, jobs=0),
        commit="c",
        finished="t",
    )


def test_published_file_is_strict(tmp_path: Path) -> None:
    """A misspelt key, or a number without its source, is one sentence."""
    wrong = tmp_path / "published.yaml"
    entry = "{source: x, total: 80.0, quality: 80.0, semantic: 80.0}"
    wrong.write_text(f"sources: {{}}\nrows:\n  raven: [{entry}]\nlong: {{}}\n")
    with pytest.raises(ValueError, match="sources x are not listed"):
        read_published(wrong)
    wrong.write_text("sources: {}\nrows: {}\nlong: {}\nrow: {}\n")
    with pytest.raises(ValueError, match="row: Extra"):
        read_published(wrong)


def test_published_totals_follow_the_formula() -> None:
    """Guards against a slip of the pen: Total = (4 Quality + Semantic) / 5 holds for every copied line within
    0.02.
    """
    lines = [line.totals for found in read_published().totals.values() for line in found]
    lines = [line for line in lines if line.quality is not None and line.semantic is not None]
    assert len(lines) >= 20
    for line in lines:
        assert line.total == pytest.approx((4 * line.quality + line.semantic) / 5, abs=0.021), line


def test_label_comes_first_and_names_are_toy_names(results: tuple[Path, str]) -> None:
    """The honest label stands above every number; nothing is called by the bare name of a total."""
    html = results[1]
    assert html.index("recipe (toy): tiny models, not the published checkpoints") < html.index("<h1>")
    assert "Toybox-Total" in html
    assert ">Total<" not in html


def test_sections_hold_what_the_files_say(results: tuple[Path, str]) -> None:
    """One landmark number of every file that the report reads."""
    html = results[1]
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "64 prompts that no training saw" in text
    assert "cache.window" in text
    assert "Training 6.7 core-minutes 3.0 core-minutes 0.45" in text  # estimate beside benchmarks
    assert (
        "estimated at its start: 13.2 core-minutes and 20.0 MB of clips" in text.split("By stage and row")[0]
    )
    assert "train 1 181 181 900" in text  # benchmarks
    assert "aggregate 1 0.4 0.4 -" in text  # too short to be measured
    assert "Rolling Forcing recipe (toy) 0.5 5 1 1 1" in text  # static filter: one short
    assert "9.9" not in text.split("Stages")[1].split("How the total")[0]  # an earlier report's own cost
    assert "RAVEN recipe (toy) and RAVEN + CM-GRPO recipe (toy) trained in this run" in text
    assert "curves-raven" in html
    assert "at least so many static samples" in html
    assert "8 of 8 prompts with clips" in text


def test_a_run_without_training_says_so(finished_run: Run) -> None:
    """Guards against a page that no suite of published weights or imports alone has."""
    without = finished_run.model_copy(update={"curves": {}, "heldout": ()})
    assert training_section(view_of(without))["inside"] == "No row was trained in this run."


def test_a_control_stands_beside_the_row_it_is_made_from(finished_run: Run) -> None:
    """Its difference is said in the main table and by dimension."""
    table = finished_run.table
    rows = tuple(r.model_copy(update={"of": "raven"}) if r.row == "noise" else r for r in table.rows)
    run = finished_run.model_copy(update={"table": table.model_copy(update={"rows": rows})})
    html = unescape(render_section(run, "scores"))
    assert "minus RAVEN recipe (toy), p" in row_text(html, "noise")
    assert "minus" not in row_text(html, "truth")
    page = unescape(render_section(run, "controls"))
    (columns,) = re.findall(r'<table class="wide" id="control-table">.*?</table>', page, flags=re.DOTALL)
    assert re.findall(r'scope="col">(.*?)<', columns) == ["Dimension", "Noise"]
    pair = next(p for p in table.pairs if (p.a, p.b, p.metric) == ("raven", "noise", "color"))
    assert f">{-pair.corrected.mean:+.1f}<small>" in columns
    assert "control-table" not in render_section(finished_run, "controls")


def with_control(run: Run, differences: dict[str, tuple[float, float]]) -> Run:
    """The run with made-up tests of the models against the control noise: difference of totals, p."""
    pairs = []
    for pair in run.table.pairs:
        if pair.b == "noise" and pair.metric == "total":
            mean, p = differences[pair.a]
            said = Interval(mean=mean, low=mean - 1, high=mean + 1)
            pair = pair.model_copy(update={"difference": said, "corrected": said, "holm": p})
        pairs.append(pair)
    return run.model_copy(update={"table": run.table.model_copy(update={"pairs": tuple(pairs)})})


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        ("+++++", "is below all 5 models"),
        ("-----", "is above all 5 models"),
        ("00000", "is not distinguishable from any of 5 models"),
        ("--000", "is above 2 of 5 models and not distinguishable from 3"),
        ("-00++", "is above 1 of 5 models, not distinguishable from 2 and below 2"),
        ("0++++", "is not distinguishable from 1 of 5 models and below 4"),
        ("----+", "is above 4 of 5 models and below 1"),
    ],
)
def test_what_a_control_says_follows_from_its_tests(finished_run: Run, signs: str, said: str) -> None:
    """Guards a sentence that counts a tie as an order, and a figure of a control that all models pass."""
    models = [row for row, (_, kind, _) in synthetic.ROWS.items() if kind == "native"]
    outcomes = {"+": (2.0, 0.01), "-": (-2.0, 0.01), "0": (0.5, 0.06)}
    run = with_control(finished_run, {m: outcomes[s] for m, s in zip(models, signs, strict=True)})
    view = view_of(run)
    (noise,) = [one for one in said_of_controls(view) if one.row.row == "noise"]
    assert str(noise.standing) == said
    assert bool(controls_figures(view, [noise])) == (len(set(signs)) > 1 or signs[0] == "0")


def test_lines_that_are_not_rendered_are_listed(results: tuple[Path, str]) -> None:
    """Guards against lines that vanish: every repeated one is named with the later line that won; its text
    stays text.
    """
    html = results[1]
    assert "43 lines, 40 distinct prompts, 83 clips per row (of 89 samples asked for)" in html
    assert '<a href="#unrendered">3 lines are not rendered</a>' in html
    found = re.search(r'<table id="unrendered-table">.*?<tbody>(.*?)</tbody>', html, flags=re.DOTALL)
    assert found is not None
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in found.group(1).split("</tr>")[:-1]]
    won, other = "40<small>move_00</small>", "41<small>style_01</small>"
    text = "a red circle, style number 1"
    assert [[unescape(cell) for cell in row] for row in cells] == [
        ["3", won, synthetic.INJECTION], ["17", other, text], ["21", other, text],
    ]  # fmt: skip
    assert not re.search(r"<(?!/?(tr|th|td|small)\b)", found.group(1))


def test_exports_and_run_record(results: tuple[Path, str]) -> None:
    """The page, its copy and the exports agree; the record holds hashes and no path of this machine."""
    folder, html = results
    assert (folder / "report.html").read_text(encoding="utf-8") == beside_clips(html)
    whole = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert whole["schema_version"] == 6
    run = whole["provenance"]
    assert run["suite"] == "toybox"
    assert (run["prompts"]["lines"], run["prompts"]["distinct"]) == (43, 40)
    assert run["weights"]["raven/full"]["sha256"] == synthetic.DIGEST
    assert (
        run["scores_sha256"]
        == hashlib.sha256((folder / "aggregate" / "scores.json").read_bytes()).hexdigest()
    )
    for text in (html, json.dumps(whole)):
        assert str(Path.home()) + "/" not in text
        assert str(folder) not in text
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    latex = (folder / "table.tex").read_text(encoding="utf-8")
    assert "| - | Rolling Forcing recipe (toy) | native | - | - | - | 15 of 16" in markdown
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    pairs = (folder / "pairs.csv").read_text(encoding="utf-8").splitlines()
    assert len(pairs) == 1 + (6 + 8) * 19 + (4 + 2) * 15  # one of five models has neither scene nor totals
    assert len((folder / "table.csv").read_text(encoding="utf-8").splitlines()) == 1 + 6 * 19 + 15


def test_same_inputs_give_the_same_record(results: tuple[Path, str]) -> None:
    """Guards against times and dictionary orders in run.json. The page is made from it alone, see below."""
    found = with_checksum(run_of(results[0]).model_dump_json() + "\n")
    assert found == (results[0] / "run.json").read_text(encoding="utf-8")


def test_files_of_the_report_are_those_that_its_cost_leaves_out(results: tuple[Path, str]) -> None:
    """Guards against a disk that grows from one report to the next."""
    files = {path.name for path in results[0].iterdir() if path.is_file()}
    assert files - {"starts.jsonl"} == set(WRITTEN_LAST)


def test_a_cell_without_variance_says_so(finished_run: Run) -> None:
    """A perfect cell is not taken for a sure one: how many clips it rests on stands in it."""
    row, *others = finished_run.table.rows
    full = row.dimensions["color"].model_copy(
        update={"raw": Interval(mean=100.0, low=86.2, high=100.0), "clips": 24}
    )
    full_row = row.model_copy(update={"dimensions": row.dimensions | {"color": full}})
    table = finished_run.table.model_copy(update={"rows": (full_row, *others)})
    page = render_section(finished_run.model_copy(update={"table": table}), "dimensions")
    assert page.count("all 24 clips alike") == 1
    assert "all 24 clips alike" not in render_section(finished_run, "dimensions")


def test_the_page_is_rebuilt_from_run_json_alone(
    results: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another machine with nothing but run.json builds the same bytes, clips and ids of figures included;
    another schema is refused.
    """
    record, output = tmp_path / "run.json", tmp_path / "rebuilt.html"
    text = (results[0] / "run.json").read_text(encoding="utf-8")
    record.write_text(text, encoding="utf-8")
    flags = ["--run", str(record), "--output", str(output)]
    assert rebuild.main(flags) == 0
    assert output.read_text(encoding="utf-8") == results[1]
    said = capsys.readouterr().out
    assert re.fullmatch(rf"{output}: the report of suite toybox, \d+ rows, from {record}\n", said)
    record.write_text(text.replace('"schema_version":6', '"schema_version":3', 1), encoding="utf-8")
    assert rebuild.main(flags) == 1
    assert "run.json has schema_version 3, expected 6 of a Run record" in capsys.readouterr().err
    record.write_text(text.replace('"draws":1000', '"draws":2000', 1), encoding="utf-8")
    assert rebuild.main(flags) == 1
    assert "run.json is not what its checksum says: it was edited" in capsys.readouterr().err


def test_rows_in_another_order_stop_the_report(
    results: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards the order in which rows are shown: it is the suite's, not what a file was edited to."""
    scores = tmp_path / "scores.json"
    scores.write_bytes((results[0] / "aggregate/scores.json").read_bytes())
    flags = ["--settings", json.dumps(synthetic.report_settings()), "--results-dir", str(results[0])]
    flags += [
        "--scores",
        str(scores),
        "--output",
        str(tmp_path / "r.html"),
        "--copy",
        str(tmp_path / "c.html"),
    ]
    lie(scores, lambda table: table["rows"].reverse())
    assert report.main(flags) == 1
    assert "scores.json has its rows in the order noise, truth, " in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


def test_the_schema_of_run_json_is_frozen() -> None:
    """Guards outside readers: a changed field without a new schema version must fail here. Remade by running
    this file.
    """
    assert RUN_SCHEMA.read_text(encoding="utf-8") == run_schema()


def run_schema() -> str:
    def strip(node: object) -> object:
        if isinstance(node, dict):
            return {key: strip(value) for key, value in node.items() if key not in ("description", "title")}
        return [strip(item) for item in node] if isinstance(node, list) else node

    return json.dumps(strip(Run.model_json_schema()), indent=1, sort_keys=True) + "\n"


def test_a_run_that_trained_nothing_says_so(finished_run: Run) -> None:
    """As one on published weights: no curves, no held-out check."""
    run = finished_run.model_copy(update={"curves": {}, "heldout": ()})
    assert SECTIONS["training"].make(view_of(run))["inside"] == "No row was trained in this run."
    assert "No row was trained" in render_section(run, "training")


@pytest.mark.slow
def test_a_bare_run_leaves_sections_out_with_a_sentence(tmp_path: Path) -> None:
    """No training, no benchmarks, no filters, no clip files, two dimensions: the page still stands and says
    so.
    """
    scores = synthetic.make_results(tmp_path, embedded=0)
    table = read_json(ScoresTable, scores)
    keep = ("color", "scene")
    rows = tuple(
        row.model_copy(
            update={
                "dimensions": {name: row.dimensions[name] for name in keep}, "total": None, "quality": None,
                "semantic": None, "incomplete": "2 of 16 dimensions scored",
                "ranks": {name: found for name, found in row.ranks.items() if name in keep},
            }
        )
        for row in table.rows
    )  # fmt: skip
    pairs = tuple(pair for pair in table.pairs if pair.metric in keep)
    hashes = {row: {name: found[name] for name in keep} for row, found in table.inputs.results.items()}
    inputs = table.inputs.model_copy(update={"results": hashes})
    changed = {"dimensions": keep, "rows": rows, "pairs": pairs, "inputs": inputs}
    write_json(scores, table.model_copy(update=changed))
    for name in ("chunks", "variance", "protocol_moves"):
        scores.with_name(f"{name}.json").unlink()
    for name in ("train", "weights", "benchmarks"):
        for path in sorted((tmp_path / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    for path in tmp_path.glob("clips/*/timings.jsonl"):
        path.unlink()
    html = run_script(tmp_path, scores, synthetic.report_settings()).read_text(encoding="utf-8")
    Page(html)
    for sentence in (
        "Subset run: 2 of 16 dimensions",
        "No clips are in this file",
        "No row was trained in this run",
        "holds no paired check",
        "holds no timings",
        "holds no benchmark files",
    ):
        assert sentence in html
    assert "40 prompts, 40 distinct, 83 clips a row" in html
    assert "not rendered" not in html


def test_settings_are_strict() -> None:
    """A misspelt key in the rule's settings is one sentence that names it."""
    wrong = synthetic.report_settings() | {"clip_budget_mb": 1}
    with pytest.raises(ValueError, match="clip_budget_mb"):
        parse(ReportSettings, json.dumps(wrong), "--settings")


def test_audit_shows_only_settings_that_were_in_use() -> None:
    """Under portable noise and float32, a method's own generator and dtypes had no effect and must not look
    as if.
    """
    from baselines.spec import load_baseline
    from workflow.planning.suite import settings_in_use
    from workflow.planning.suite_file import load_suite

    root = Path(__file__).parents[2]
    suite = load_suite(root, [], {})
    baseline = load_baseline(root / "baselines" / "reward_forcing.yaml")
    sample = suite.sample.model_copy(update={"noise": "portable", "precision": "float32"})
    shown = settings_in_use(suite.model_copy(update={"sample": sample}), baseline)
    assert shown["noise"] == {"source": "portable", "draw_last": baseline.noise.draw_last}
    assert "dtypes" not in shown
    assert "ema_dtype" not in shown["cache"]
    sample = suite.sample.model_copy(update={"noise": "upstream", "precision": "exact"})
    shown = settings_in_use(suite.model_copy(update={"sample": sample}), baseline)
    assert shown["noise"]["seed"] == baseline.noise.seed
    assert shown["dtypes"]["matmul"] == "bfloat16"
    assert "ema_dtype" in shown["cache"]


def test_the_audit_has_the_notes_of_rows(finished_run: Run) -> None:
    """What its settings alone do not say, once, under its label."""
    noted = {"raven": finished_run.settings.rows["raven"].model_copy(update={"note": "Window 12 is ours"})}
    settings = finished_run.settings.model_copy(update={"rows": finished_run.settings.rows | noted})
    html = render_section(finished_run.model_copy(update={"settings": settings}), "audit")
    assert html.count(f"{noted['raven'].label}: Window 12 is ours.") == 1
    assert "Window 12" not in render_section(finished_run, "audit")


def test_audit_says_in_words_what_a_row_of_2026_does() -> None:
    """Lists for each chunk, sizes of chunks, noisy context and draws over the clip, beside a plain row."""
    from baselines.spec import load_baseline

    root = Path(__file__).parents[2]
    names = ("causal_rcm_c3_2step_noisy", "one_forcing_ffe", "self_forcing")
    rows = {
        name: {
            "label": name, "kind": "native", "licence": "-", "citation": "-",
            "settings": load_baseline(root / f"baselines/{name}.yaml").sampled(),
        }
        for name in names
    }  # fmt: skip
    settings = parse(ReportSettings, json.dumps(synthetic.report_settings() | {"rows": rows}), "--settings")
    shown = {line.key: line.values for line in audit(settings)}
    levels = "chunk 0: 1600/1601, 15/16, 5/6, 5/8; then 1600/1601, 5/8"
    assert shown["schedule.levels"] == (levels, "-", "-")
    assert shown["schedule.steps"] == ("-", "chunk 0: 1000, 750, 500, 250; then 1000", "1000, 750, 500, 250")
    assert shown["rollout.chunk"] == ("3", "chunk 0: 4; then 1", "3")
    assert shown["rollout.context"] == ("noisy latents of the last step", *["clean latents, at t = 0"] * 2)
    assert shown["noise.extent"] == ("a draw of the whole clip a step", *["a draw a chunk"] * 2)
    seeds = ("seed + sample, the same for every prompt", *["seed + place in the list"] * 2)
    assert shown["noise.seed_rule"] == seeds
    assert not any("[" in value or "last_step" in value for values in shown.values() for value in values)


if __name__ == "__main__":
    RUN_SCHEMA.write_text(run_schema(), encoding="utf-8")
