"""Methods text, citations, licences and what is not comparable: true to the record, complete, and safe to
paste.
"""

import re
from html import unescape
from pathlib import Path

import pytest

from baselines.spec import load_all
from evaluation.records import ClipTiming, Interval, RowSummary, read_jsonl, write_jsonl
from reports.beside import EXPORTS
from reports.citations import (
    baseline_key,
    bibtex,
    cited_keys,
    latex_citation,
    read_references,
    with_citations,
)
from reports.exports import dimensions_latex, latex, latex_text, markdown, markdown_text
from reports.licences import NETWORKS, NOT_STATED, Licence
from reports.page import render_section
from reports.replay import Replay
from reports.run import Run
from reports.sections.dimensions import saturated
from reports.sections.limits import not_comparable
from reports.sections.methods import methods_bibtex, methods_keys, methods_latex, methods_markdown
from reports.sections.static_filter import filter_figure
from reports.sections.training import constants, moving
from reports.tables import main_table
from reports.terminal import TOP_ROWS, terminal_text
from reports.verdict import points_text, verdict_of
from reports.view import View, view_of
from reports.words import picture_size
from tests.reports import full_scale, synthetic
from tests.reports.synthetic import run_of
from workflow.planning.licences import licences_of
from workflow.planning.resources import scorer_resources

ROOT = Path(__file__).parents[2]
ALL_AT_ONCE = r'50% \input{x} & $x_1^2$ #1 {~} <script> "q" | `a` [@evil] ' + "\n\x07 \\"


@pytest.fixture
def run(finished_run: Run) -> Run:
    return finished_run


@pytest.fixture(scope="session")
def official(finished: Path) -> Run:
    """The same numbers under the settings of the real protocol."""
    given = full_scale.report_settings()
    return run_of(finished, bounds="vbench", config=given["config"], licences=given["licences"])


def braces(text: str) -> None:
    """Braces nest and close; escaped ones do not count."""
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0


def balanced(text: str) -> None:
    """What LaTeX would stop at: braces, environments, mathematics that does not end, unescaped specials,
    unknown commands.
    """
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    plain = re.sub(r"\\[&%$#_{},]", "", "\n".join(lines))
    braces(plain)
    begun, ended = re.findall(r"\\begin\{(\w+)\}", plain), re.findall(r"\\end\{(\w+)\}", plain)
    assert begun == ended[::-1]
    assert not set("#%") & set(plain)
    outside = re.sub(r"\\citep\{[\w,]*\}", "", re.sub(r"\$[^$]*\$", "", plain))
    assert not set("$_^") & set(outside)
    known = {"begin", "end", "toprule", "midrule", "bottomrule", "mathbf", "underline", "paragraph", "citep"}
    known |= {"multicolumn", "linewidth", "footnotesize"}
    assert {name for name in re.findall(r"\\([A-Za-z]+)", plain) if not name.startswith("text")} <= known


def test_references_are_whole() -> None:
    """Every entry has author, title and year, balanced braces, and its key once; every arXiv number has its
    form.
    """
    found = read_references()
    text = (ROOT / "reports/references.bib").read_text(encoding="utf-8")
    assert len(found) == text.count("\n@") >= 40
    for key, entry in found.items():
        braces(entry)
        for field in ("author", "title", "year"):
            assert re.search(rf"^  {field} = \{{.+\}},$", entry, re.MULTILINE), (key, field)
    numbers = re.findall(r"eprint = \{(.*)\}", text)
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(r"\d{4}\.\d{4,5}", number) for number in numbers)


def test_every_shipped_baseline_finds_its_paper() -> None:
    """By the arXiv number of its own citation, whose surname the entry has too; an unknown one is cited as it
    is given.
    """
    for row, baseline in load_all(ROOT / "baselines").items():
        key = baseline_key(row, baseline.citation)
        assert key in read_references(), row
        assert re.split(r"[ ,]", baseline.citation)[0] in read_references()[key]
    assert baseline_key("mine", "Nobody, Nothing, arXiv:9999.99999") == "row_mine"
    entry = bibtex(["row_mine", "holm"], {"mine": "A & B {x}, 100%"})
    assert r"note = {A \& B (x), 100\%}" in entry
    assert "@article{holm," in entry


@pytest.mark.parametrize("which", ["run", "official"])
def test_methods_cite_what_exists_and_only_what_was_used(which: str, request: pytest.FixtureRequest) -> None:
    """Every key of the text has an entry, the file holds exactly these; toybox cites no network that it does
    not use.
    """
    found: Run = request.getfixturevalue(which)
    keys, latex_of = methods_keys(found), methods_latex(found)
    assert keys == re.findall(r"^@\w+\{(\w+),", methods_bibtex(found), re.MULTILINE)
    assert {"vbench", "holm", "wilson", "bootstrap", "snakemake", "raven", "self_forcing"} <= set(keys)
    assert ({network.key for network in NETWORKS} <= set(keys)) == (which == "official")
    assert ("wan" in keys) == ("diffusers" in keys) == (which == "official")
    balanced(latex_of)
    assert "[@" not in latex_of
    assert r"\citep{self_forcing}" in latex_of
    braces(methods_bibtex(found))


def test_methods_say_what_the_run_did(run: Run, official: Run) -> None:
    """The record's numbers stand there; a toy run calls itself one; the official one names its backend."""
    text = " ".join(methods_markdown(run).split())
    for said in (
        "40 prompts",
        "two samples of each prompt",
        "five of the one prompt that asks",
        "83 clips per model",
        "toy-sized",
        "not VBench's scores",
        "100 iterations, batch size 8, seed 1",
        "1,000 draws (seed 0)",
        "Student's t",
        "in float32 throughout",
        "Philox [@philox]",
        "No exact answer exists for aesthetic quality",
        "3.5 core-minutes",
        "RAVEN recipe (toy) [@raven], RAVEN + CM-GRPO recipe (toy) [@raven] and Self",
        "five denoising steps at nominal timesteps 1000, 800, 600, 400, 200",
        "attention window 12 and sink 3",
    ):
        assert said in text, said
    real = " ".join(methods_markdown(official).split())
    assert "toy-sized" not in real
    assert "832 x 480" in real
    assert "scoring backend: fast" in real
    assert "RAFT [@raft]" in real
    assert "recipe (toy) and RAVEN + CM-GRPO recipe (toy) are the prompts filtered from VidProM" in real
    plans = official.settings.config["train"]
    train = {
        "raven": plans["raven"] | {"prompts": "resources/prompts/vidprom_filtered_extended.txt"},
        "cm_grpo": plans["cm_grpo"] | {"prompts": "/data/my_list.txt"},
    }
    config = official.settings.config | {"train": train}
    other = official.model_copy(update={"settings": official.settings.model_copy(update={"config": config})})
    fetched = {"prompts/vidprom_filtered_extended.txt": "e" * 64}
    other = other.model_copy(update={"provenance": other.provenance | {"fetched": fetched}})
    page = render_section(other, "provenance")
    assert "Training prompts of RAVEN recipe (toy)" in page and "/data/my_list.txt" in page
    assert f'vidprom_filtered_extended.txt<br><span class="hash">sha256 {"e" * 64}' in page
    said = " ".join(methods_markdown(other).split())
    assert "Training prompts of RAVEN recipe (toy) are the filtered and extended VidProM" in said
    assert "[@self_forcing]. Training prompts of RAVEN + CM-GRPO recipe (toy) are the prompts in my" in said


def test_subset_and_foreign_rows_are_said(finished: Path) -> None:
    """A note of the run stands in its methods and among what is not comparable; imported clips are called
    that.
    """
    rows = synthetic.report_settings()["rows"]
    rows["longlive"] |= {"kind": "import", "settings": {"clips": "x"}, "citation": "Someone, Something, 2026"}
    rows["longlive"] |= {"label": ALL_AT_ONCE}
    imported = {"kind": "import", "label": ALL_AT_ONCE}
    found = run_of(finished, rows=rows, note="This run leaves the standard protocol: 4 prompts.")
    table = found.table.model_copy(
        update={
            "rows": tuple(
                row.model_copy(update=imported) if row.row == "longlive" else row for row in found.table.rows
            )
        }
    )
    found = found.model_copy(update={"table": table})
    text = methods_markdown(found)
    assert "leaves the standard protocol" in text
    assert "clips made elsewhere" in text
    assert "row_longlive" in methods_keys(found)
    assert "Someone, Something" in methods_bibtex(found)
    reasons = " ".join(not_comparable(found, published=False))
    assert "this run leaves the standard protocol" in reasons
    assert "made elsewhere and imported" in reasons
    balanced(methods_latex(found))
    for made in (latex(table, "toybox"), dimensions_latex(table)):
        balanced(made)
        columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", made)
        assert columns
        for line in made.splitlines():
            if line.endswith(r"\\"):
                assert len(re.findall(r"(?<!\\)&", line)) == len(columns[1]) - 1
    cells = [line for line in markdown(table, "toybox").splitlines() if "input" in line]
    assert len(cells) == 1
    assert len(re.findall(r"(?<!\\)\|", cells[0])) == 8


def test_what_is_computed_in_fp8_or_decoded_small_is_said(finished: Path) -> None:
    """Among what is not to be compared, by label, and in the methods; of other runs nothing is said."""
    given = synthetic.report_settings()
    rows, config = given["rows"], given["config"]
    rows["raven"]["settings"] |= {"precision": "fp8", "decoder": "tiny"}
    config["variants"] = {"raven": {"baseline": "cm_grpo", "precision": "fp8", "decoder": "tiny"}}
    config["model"]["tiny_decoder"] = "resources/weights/tiny/taew2_1.pth"
    varied, plain = run_of(finished, rows=rows, config=config), run_of(finished)
    reasons, methods = " ".join(not_comparable(varied, published=False)), methods_markdown(varied)
    label = rows["raven"]["label"]
    assert f"Precision: {label} computed in 8-bit floating point" in reasons
    assert f"Decoder: frames of {label} are a small decoder's" in reasons
    assert "different precision" not in reasons, "that is for last digits"
    assert "multiply in 8-bit floating point" in methods
    assert "taew2" in methods
    same = " ".join(not_comparable(plain, published=False)) + methods_markdown(plain)
    assert not re.search("8-bit|small decoder|decoder: tiny", same)


def test_marks_and_groups_are_in_the_exports(run: Run) -> None:
    """What the page marks, LaTeX marks: the best total of the synthetic run is bold there, its group is 1."""
    text = latex(run.table, "toybox")
    assert re.search(r"RAVEN \+ CM-GRPO recipe \(toy\) & \$\\mathbf\{[\d.]+\}_\{\[", text)
    assert re.search(r"RAVEN \+ CM-GRPO.* & 1 \\\\", text)
    assert r"\mathbf" in dimensions_latex(run.table)
    assert dimensions_latex(run.table).count("\n") == 4 + 2 + 2 + 16 + 1 + 2


def test_latex_text_prints_any_character() -> None:
    """Closed form for the ten special characters; control characters and line breaks become blanks."""
    assert (
        latex_text("a\\b_{c}\n\x00d~^") == r"a\textbackslash{}b\_\{c\} d\textasciitilde{}\textasciicircum{}"
    )
    assert with_citations("a_b [@x_y; @z] c%", latex_text, latex_citation) == r"a\_b \citep{x_y,z} c\%"
    assert cited_keys("no [x], [@a; @b] and [@a]") == ["a", "b"]


def test_licences_are_stated_or_said_to_be_unknown() -> None:
    """Of the real protocol: every row, every network a dimension needs, prompts and training data; NC terms
    are marked, nothing is guessed.
    """
    every = load_all(ROOT / "baselines")
    lines = licences_of(ROOT, full_scale.SUITE, {row: every[row] for row in full_scale.SUITE.baselines})
    by_name = {line.name: line for line in lines}
    assert by_name["RAVEN"].non_commercial
    assert by_name["CausVid (4-step)"].non_commercial
    assert by_name["Rolling Forcing"].non_commercial
    assert not by_name["Self Forcing"].non_commercial
    assert by_name["AMT-S"].non_commercial
    assert by_name["UMT ViT-L/16"].stated == NOT_STATED
    assert not by_name["UMT ViT-L/16"].non_commercial
    assert "not use" in by_name["RAVEN"].note
    assert "released weights" in by_name["Self Forcing"].note
    assert any(line.part == "training" and line.non_commercial for line in lines)
    assert by_name["Wan-AI/Wan2.1-T2V-1.3B"].stated == "Apache-2.0"
    assert all(line.stated and "see its" not in line.stated for line in lines)
    assert Licence(part="model", name="x", stated="NCSA", note="").non_commercial is False


def test_every_checkpoint_of_the_scorer_has_a_network() -> None:
    """Guards against a new file in workflow/resources.yaml that no line of the licences and no citation
    covers.
    """
    for entry in scorer_resources(ROOT, full_scale.SUITE):
        name = entry.path.removeprefix("weights/vbench/")
        assert sum(name.startswith(network.begins) for network in NETWORKS) == 1, name


def test_devices_and_versions_that_differ_are_said(finished: Path, tmp_path: Path) -> None:
    """Closed form: one row made on another GPU with another torch, at another commit."""
    synthetic.make_results(tmp_path, embedded=0)
    path = tmp_path / "clips/raven/timings.jsonl"
    other = [
        t.model_copy(
            update={
                "device": "NVIDIA H200",
                "software": {"torch": "2.13", "cuda": "13.0"},
                "commit": "d" * 12,
            }
        )
        for t in read_jsonl(ClipTiming, path)
    ]
    write_jsonl(path, other)
    run = run_of(tmp_path)
    run = run.model_copy(update={"noises": (*run.noises, "upstream:0")})
    reasons = not_comparable(run, published=True)
    text = " ".join(reasons)
    assert "RAVEN recipe (toy) on NVIDIA H200" in text
    assert "made from 2 states of the code" in text
    assert "do not share their noise" in text
    assert "Published totals" in text
    same = " ".join(not_comparable(run_of(finished), published=False))
    for absent in ("across devices", "states of the code", "share their noise", "Published"):
        assert absent not in same


def test_a_replay_is_shown_and_said_to_be_stale(finished: Path, run: Run) -> None:
    """The verdict stands on the page; one whose clips were made again since says so; without one the page
    says how to make it.
    """
    clip = {
        "clip_id": "move_00-0",
        "outcome": "differs",
        "device_then": "A",
        "device_now": "A",
        "max_difference": 9,
        "psnr_db": 31.25,
    }
    rows = [
        {
            "row": row,
            "manifest_sha256": digest,
            "commit_then": "c",
            "commit_now": "d",
            "software_then": {},
            "software_now": {},
            "clips": [clip],
        }
        for row, digest in (
            ("raven", run.provenance["clips"]["raven"]["manifest_sha256"]),
            ("longlive", "1" * 64),
        )
    ]
    replay = Replay.model_validate({"suite": "toybox", "finished": "2026-01-01T00:00:00+00:00", "rows": rows})
    page = " ".join(
        re.sub(
            r"<[^>]+>", " ", render_section(run.model_copy(update={"replay": replay}), "provenance")
        ).split()
    )
    assert (
        "RAVEN recipe (toy) differs on the same type of device, A 0 of 1 bit-equal, move_00-0 differs (up "
        "to 9 of 255, PSNR 31.2 dB) c, d" in page
    )
    assert (
        "LongLive recipe (toy) differs on the same type of device, A of clips that were made again since"
        in page
    )
    assert "raven-bench replay" in render_section(run, "provenance").split('id="replay"')[1]


def test_exports_are_written_and_listed(results: tuple[Path, str]) -> None:
    """Every file that the page lists lies beside it, and the page shows the text that the file holds."""
    folder, page = results
    for name, *_ in EXPORTS:
        assert (folder / name).stat().st_size > 100, name
        assert f"<code>{name}</code>" in page
    assert "leaderboard" not in page.split('id="exports"')[1]
    for shown in (
        "Self Forcing: Bridging the Train-Test Gap",
        "What is not comparable, and why",
        "snakemake reports/table.html --profile local",
    ):
        assert shown in page


def test_the_verdict_is_one(finished_run: Run) -> None:
    """Page, terminal and methods text say it word for word; the terminal adds the first rows and the cost."""
    verdict = verdict_of(finished_run.table)
    lines = terminal_text(finished_run).splitlines()
    page = " ".join(unescape(re.sub(r"<[^>]+>", "", render_section(finished_run, "header"))).split())
    assert tuple(lines[1 : 1 + len(verdict.sentences)]) == verdict.sentences
    for sentence in verdict.sentences:
        assert sentence in page
        assert markdown_text(sentence) in methods_markdown(finished_run)
    assert lines[-1] in re.sub(r"<[^>]+>", "", render_section(finished_run, "scores"))
    main = main_table(finished_run.table)
    shown = lines[1 + len(verdict.sentences) :]
    for line, row in zip(shown, main.ranked[:TOP_ROWS], strict=False):
        total = row.summary.total
        assert total is not None
        assert line.startswith(f"  rank {row.rank} ")
        assert row.summary.label in line
        assert f"{total.mean:.2f}" in line
        assert row.versus is None or points_text(row.versus) in line
    if len(main.ranked) > TOP_ROWS:
        more = f"  and {len(main.ranked) - TOP_ROWS} more, {len(main.controls)} controls beside them"
        assert shown[TOP_ROWS] == more


@pytest.mark.parametrize(
    ("benchmark", "latents", "clip", "said"),
    [
        ("toybox", (8, 8), (128, 128), "32 x 32 pixels, upscaled to 128 x 128"),
        ("toybox", (8, 8), (32, 32), "32 x 32 pixels"),
        ("toybox", (4, 8), (64, 128), "16 x 32 pixels, upscaled to 64 x 128"),
        ("vbench", (104, 60), (832, 480), "832 x 480 pixels"),
    ],
)
def test_the_size_of_pictures_is_the_one_they_are_made_at(
    benchmark: str, latents: tuple[int, int], clip: tuple[int, int], said: str
) -> None:
    """Guards against calling an enlarged picture by the size of its file. Width comes first."""
    sizes = dict(zip(("latent_width", "latent_height"), latents, strict=True))
    shown = dict(zip(("width", "height"), clip, strict=True))
    assert picture_size({"benchmark": benchmark, "model": sizes, "clip": shown}) == said


def with_scores(run: Run, dimension: str, mean: float) -> View:
    """The run with every model at the same score of a dimension, and no pair of models told apart on it."""

    def changed(row: RowSummary) -> RowSummary:
        if row.kind == "control":
            return row
        value = Interval(mean=mean, low=mean, high=mean)
        cell = row.dimensions[dimension].model_copy(update={"normalised": value})
        return row.model_copy(update={"dimensions": row.dimensions | {dimension: cell}})

    pairs = [
        pair.model_copy(update={"holm": 1.0}) if pair.metric == dimension else pair
        for pair in run.table.pairs
    ]
    rows = tuple(changed(row) for row in run.table.rows)
    return view_of(
        run.model_copy(update={"table": run.table.model_copy(update={"rows": rows, "pairs": tuple(pairs)})})
    )


def test_what_says_nothing_has_no_figure(finished_run: Run) -> None:
    """A dimension at an end of the scale on which no model is told apart is named in one line; curves that
    never change have no panel; the static filter has a figure only where models differ.
    """
    for mean, full in ((99.2, True), (0.4, True), (98.9, False)):
        assert ("color" in saturated(with_scores(finished_run, "color", mean))) == full
    page = render_section(with_scores(finished_run, "color", 99.2).run, "dimensions")
    assert "color (99.2 to 99.2)" in page and 'id="dimension-color' not in page
    groups = finished_run.curves["raven"]
    assert [curve for group in moving(groups) for curve in group.curves if len(set(curve.values)) == 1] == []
    assert constants(groups) == ["student_lr 0.0001"]
    assert filter_figure(view_of(finished_run)) is not None
    alike = [
        f.model_copy(update={"filtered": finished_run.filters[0].filtered}) for f in finished_run.filters
    ]
    assert filter_figure(view_of(finished_run.model_copy(update={"filters": alike}))) is None
    other = next(f.filtered for f in finished_run.filters if f.row == "rolling_forcing")
    control = [f.model_copy(update={"filtered": other}) if f.row == "noise" else f for f in alike]
    assert filter_figure(view_of(finished_run.model_copy(update={"filters": control}))) is None
