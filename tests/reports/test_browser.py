"""The report in a real browser: no console error, no request, no serious fault of accessibility, and
everything that moves.

Chromium is Debian's; Playwright brings none of its own here.
"""

import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pypdf import PdfReader

from evaluation.records import parse
from evaluation.votes import Ballot, read_ballot, votes_of_run
from tests.reports import synthetic
from tests.reports.synthetic import run_script

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"),
]


class Reports(NamedTuple):
    """alone: the file that loads nothing; beside: the same page in its results folder, which loads clips."""

    alone: Path
    beside: Path


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    folder = tmp_path_factory.mktemp("toybox")
    scores = synthetic.make_results(folder, frames=33, size=64, repeated=True)
    return Reports(run_script(folder, scores, synthetic.report_settings()), folder / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()


class Tab:
    """An open page that remembers what went wrong and what it asked for."""

    def __init__(
        self,
        browser: Browser,
        file: Path,
        width: int = 1280,
        scheme: str = "light",
        motion: str = "no-preference",
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion=motion,
            is_mobile=width < 500, has_touch=width < 500,
        )  # fmt: skip
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.errors.append(line.text) if line.type in ("error", "warning") else None,
        )
        self.address = file.as_uri()
        self.page.goto(self.address)

    def loaded(self) -> list[str]:
        """Addresses of everything that was fetched beside the page itself and is not inside it."""
        fetched = [url for url in self.requests if url.partition("#")[0] != self.address]
        return [url for url in fetched if not url.startswith("data:")]


@pytest.fixture
def tab(browser: Browser, reports: Reports) -> Iterator[Tab]:
    """The report that stands alone, 1280 pixels wide; whatever a test does, nothing is loaded and nothing
    complains.
    """
    opened = Tab(browser, reports.alone)
    yield opened
    opened.context.close()
    assert opened.errors == []
    assert opened.loaded() == []


VIDEOS = "[...document.querySelectorAll('#clips video')]"


def until(page: Page, script: str) -> None:
    """Wait until the script is true; Playwright's own waiting is an eval, which the page's policy refuses."""
    end = time.monotonic() + 20
    while not page.evaluate(script):
        assert time.monotonic() < end, f"not true after 20 s: {script}"
        page.wait_for_timeout(20)


def videos_at(page: Page, frame: int) -> None:
    """Wait until every player shows the frame, counted from 0."""
    at = f"v => !v.seeking && Math.floor(v.currentTime * 16 + 0.01) === {frame}"
    until(page, f"{VIDEOS}.length > 0 && {VIDEOS}.every({at})")


def ready(page: Page) -> None:
    """Wait until all rows have a player with pictures."""
    until(page, f"{VIDEOS}.length === {len(synthetic.ROWS)} && {VIDEOS}.every(v => v.readyState >= 2)")


def in_list_order(page: Page) -> None:
    """Show the first prompt of the list."""
    page.locator("#find-order").select_option("list")
    page.locator("#prompts button").first.click()


def listed(page: Page) -> list[str]:
    return page.locator("#prompts button > small").all_text_contents()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (390, "dark")])
def test_page_is_quiet_and_fits(browser: Browser, reports: Reports, width: int, scheme: str) -> None:
    """No console error (a refused picture is one), no request, no sideways scrolling of the page."""
    tab = Tab(browser, reports.alone, width, scheme)
    ready(tab.page)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.errors == []
    assert tab.loaded() == []
    tab.context.close()


@pytest.fixture(scope="module")
def longest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that the toybox suite's first screen can have to say: nine models none of which leads,
    RAVEN and CM-GRPO apart from the top, a teacher, a warning from the controls.
    """
    folder = tmp_path_factory.mktemp("longest")
    with pytest.MonkeyPatch.context() as patch:
        synthetic.add_models(patch)
        synthetic.add_teacher(patch, 0.15)
        patch.setitem(synthetic.ROWS, "noise", ("Truth, first frame frozen", "control", 0.0))
        scores = synthetic.make_results(folder, embedded=0, draws=2500)
        return run_script(folder, scores, synthetic.report_settings())


@pytest.mark.parametrize(("width", "height"), [(1440, 800), (768, 1024), (390, 844)])
def test_the_verdict_fits_one_screen(browser: Browser, longest: Path, width: int, height: int) -> None:
    """Headline, sentences and every line of models stand on the first screen; totals, ranks, figures and
    differences are all visible there, and nothing is wider than it.
    """
    tab = Tab(browser, longest, width)
    said = tab.page.locator("header").inner_text()
    for sentence in (
        "No model leads:",
        "RAVEN: rank",
        "RAVEN + CM-GRPO: rank",
        "Cost of dist",
        "Warning from",
    ):
        assert sentence in said
    for part in ("h1", ".lead", "#verdict-table tbody tr"):
        for box in (found.bounding_box() for found in tab.page.locator(part).all()):
            assert box is not None, part
            assert box["y"] + box["height"] <= height, part
            assert box["x"] >= 0, part
            assert box["x"] + box["width"] <= width, part
    for cell in ("total", "ranks", "plot", "gap"):
        assert all(found.is_visible() for found in tab.page.locator(f"#verdict-table td.{cell}").all()), cell
    assert tab.page.locator("#verdict-table td.plot circle").count() == 8
    tab.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_no_fault(
    browser: Browser, reports: Reports, width: int, scheme: str, *, opened: bool
) -> None:
    """Contrast, names, roles, order, landmarks, best practice: nothing at all, as the page opens and with
    everything unfolded.
    """
    tab = Tab(browser, reports.alone, width, scheme)
    ready(tab.page)
    if opened:
        tab.page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    found = Axe().run(tab.page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found] == []
    tab.context.close()


def test_the_page_is_short_and_opens_fast(browser: Browser, reports: Reports) -> None:
    """Under twelve screens of 1440 x 800 as it opens, and ready within two seconds; what is folded says in
    one line what it holds, with numbers.
    """
    started = time.monotonic()
    tab = Tab(browser, reports.alone, 1440)
    assert time.monotonic() - started < 2
    assert tab.page.evaluate("document.documentElement.scrollHeight") < 12 * 800
    lines = tab.page.locator("details.fold > summary > span").all_text_contents()
    assert len(lines) == 12
    assert all(len(line) < 200 and any(c.isdigit() for c in line) for line in lines)
    tab.context.close()


def test_a_link_into_a_folded_section_opens_it(browser: Browser, reports: Reports) -> None:
    """By a press in the bar of sections, by a press on a link that was pressed before, and by the address."""
    tab = Tab(browser, reports.alone, motion="reduce")  # jumps, so that nothing is still moving
    ready(tab.page)
    fold = "document.querySelector('#cost > details').open"
    assert not tab.page.evaluate(fold)
    for _ in range(2):
        tab.page.locator("body > nav a[href='#cost']").click()
        until(tab.page, fold)
        expect(tab.page.locator("#cost-table")).to_be_in_viewport()
        tab.page.evaluate("document.querySelector('#cost > details').open = false")
    tab.page.goto("about:blank")  # so that the address is opened anew
    tab.page.goto(f"{reports.alone.as_uri()}#exports")
    until(tab.page, "document.querySelector('#provenance > details').open")
    expect(tab.page.locator("#exports")).to_be_in_viewport()
    tab.context.close()


def test_headings_and_landmarks(tab: Tab) -> None:
    """One h1, no level skipped, one main and one navigation, a skip link that is the first stop of the tab
    key.
    """
    levels = [
        int(name[1])
        for name in tab.page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(e => e.tagName)")
    ]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert tab.page.locator("main").count() == tab.page.locator("body > nav").count() == 1
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("location.hash") == "#main"
    linked = tab.page.locator("body > nav a").evaluate_all("all => all.map(e => e.hash.slice(1))")
    assert linked == tab.page.locator("main > section:has(h2)").evaluate_all("all => all.map(e => e.id)")
    assert len(linked) >= 11
    figures = tab.page.locator("figure svg").evaluate_all(
        "all => all.map(e => e.getAttribute('role') + Boolean(e.getAttribute('aria-label')))"
    )
    assert set(figures) == {"imgtrue"}


def test_dark_page_is_dark_and_its_figures_are_light(browser: Browser, reports: Reports) -> None:
    """A figure drawn in fixed black would vanish on the dark page."""
    script = (
        "getComputedStyle(document.querySelector('svg text')).fill + "
        "getComputedStyle(document.body).backgroundColor"
    )
    found = {}
    for scheme in ("light", "dark"):
        tab = Tab(browser, reports.alone, scheme=scheme)
        found[scheme] = tab.page.evaluate(script)
        tab.context.close()
    assert found == {
        "light": "rgb(87, 97, 108)rgb(255, 255, 255)",
        "dark": "rgb(161, 171, 181)rgb(19, 22, 26)",
    }


def test_print_holds_every_section_and_cuts_nothing(tab: Tab, tmp_path: Path) -> None:
    """Headings, the last ranked row's last number and the widest table's last column are on paper."""
    path = tmp_path / "report.pdf"
    tab.page.pdf(path=path, prefer_css_page_size=True)
    reader = PdfReader(path)
    text = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    for heading in tab.page.locator("main > section > h2, summary > h2").all_text_contents():
        assert heading in text
    assert "Network calls" in text
    assert "Bidirectional base model" in text
    assert "Search" not in text
    tab.page.emulate_media(media="print")
    width = round(float(reader.pages[0].mediabox.width) * 96 / 72 - 2 * 12 * 96 / 25.4)
    tab.page.set_viewport_size({"width": width, "height": 700})
    wide = tab.page.locator("table").evaluate_all("all => all.map(e => e.getBoundingClientRect().right)")
    assert max(wide) <= width + 1


def test_players_play_step_and_change_prompt(tab: Tab) -> None:
    """All clips of a prompt run from one button and nothing plays before it; slower on demand."""
    page, videos = tab.page, VIDEOS
    ready(page)
    assert page.evaluate(f"{videos}.every(v => v.paused && v.currentTime === 0)")
    page.locator("#speed").select_option("0.5")
    page.get_by_role("button", name="Play", exact=True).press("Enter")
    until(page, f"{videos}.every(v => !v.paused && v.currentTime > 0.1)")
    assert page.evaluate(f"{videos}.every(v => v.playbackRate === 0.5 && v.loop)")
    page.get_by_role("button", name="Pause").click()
    assert page.evaluate(f"{videos}.every(v => v.paused)")
    page.locator("#start").click()
    for _ in range(3):
        page.locator("#forward").click()
    videos_at(page, 3)
    expect(page.locator("#time")).to_have_text("frame 4 of 33")
    page.locator("#back").click()
    videos_at(page, 2)
    in_list_order(page)
    expect(page.locator("#prompt-text")).to_have_text(synthetic.INJECTION)
    page.locator("#next").click()
    expect(page.locator("#prompt-text")).to_have_text(" ".join(synthetic.HOSTILE.split()))
    expect(page.locator("#prompts [aria-current] small")).to_have_text("move_01")


def test_keys(tab: Tab) -> None:
    """Space, k, arrows, comma and dot, Home, n, p and ? act among the clips, and are letters in the search
    field.
    """
    page = tab.page
    in_list_order(page)
    page.locator("#player").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press(".")
    videos_at(page, 2)
    page.keyboard.press(",")
    videos_at(page, 1)
    page.keyboard.press("ArrowLeft")
    videos_at(page, 0)
    page.keyboard.press("k")
    until(page, f"{VIDEOS}[0].currentTime > 0.1")
    page.keyboard.press("Space")
    assert page.evaluate(f"{VIDEOS}[0].paused")
    page.keyboard.press("Home")
    videos_at(page, 0)
    page.keyboard.press("n")
    expect(page.locator("#prompt-id")).to_have_text("move_01")
    page.keyboard.press("p")
    page.keyboard.press("p")
    expect(page.locator("#prompt-id")).to_have_text("still_09")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.locator("#find-text").focus()
    page.keyboard.type("kn.p")
    expect(page.locator("#find-text")).to_have_value("kn.p")
    expect(page.locator("#prompt-id")).to_have_text("still_09")


def test_prompts_are_found_filtered_and_paged(tab: Tab) -> None:
    """Words of text or id, dimension and what is inside narrow the list; only one page of it is in the
    document.
    """
    page = tab.page
    page.locator("#find-order").select_option("list")
    assert len(listed(page)) == 10
    expect(page.locator("#found")).to_have_text("40 of 40 prompts, in list order")
    page.locator("#page-on").click()
    assert listed(page)[0].startswith("pair_00")
    page.locator("#find-text").fill("RED style_0 7")
    assert listed(page) == ["style_07, no clip files"]
    page.locator("#find-text").fill("")
    page.locator("#find-dimension").select_option("scene")
    expect(page.locator("#found")).to_have_text("10 of 40 prompts, in list order")
    page.locator("#find-state").select_option("inside")
    assert listed(page) == ["move_00", "move_01"]
    page.locator("#find-state").select_option("out")
    assert listed(page) == []
    shown = page.locator("#prompt-id").inner_text()
    page.locator("#next").click()
    expect(page.locator("#prompt-id")).to_have_text(shown)


def test_prompts_are_sorted_by_what_rows_score(tab: Tab) -> None:
    """Order and numbers are those of the record: gap of two rows with its sign, lowest score of one."""
    page = tab.page
    data = json.loads(page.locator("#clip-data").text_content() or "")
    points = data["scores"]["color"]["points"]
    prompts = [data["prompts"][n]["id"] for n in data["scores"]["color"]["prompts"]]
    gaps = [one - other for one, other in zip(points["raven"], points["longlive"], strict=True)]
    page.locator("#find-dimension").select_option("color")
    page.locator("#find-order").select_option("gap")
    page.locator("#row-a").select_option("raven")
    page.locator("#row-b").select_option("longlive")
    wanted = sorted(zip(gaps, prompts, strict=True), key=lambda pair: -abs(pair[0]))
    assert [name.split(",")[0] for name in listed(page)] == [name for _, name in wanted]
    shown = [text.replace("\u2212", "-") for text in page.locator("#prompts b").all_text_contents()]
    assert [float(text) for text in shown] == [pytest.approx(gap, abs=0.051) for gap, _ in wanted]
    assert shown[0][0] in "+-"
    page.locator("#find-order").select_option("lowest")
    lowest = sorted(zip(points["raven"], prompts, strict=True))
    assert [name.split(",")[0] for name in listed(page)] == [name for _, name in lowest]
    page.locator("#find-dimension").select_option("")
    assert len(listed(page)) == 10


def test_rows_and_samples_are_chosen(tab: Tab) -> None:
    """A hidden row has no player; another sample is another clip in every row; its points stand beside a
    player.
    """
    page = tab.page
    expect(page.locator("#clips video")).to_have_count(7)
    in_list_order(page)
    before = page.locator("#clips video").first.get_attribute("src")
    page.locator("#sample").select_option("1")
    expect(page.locator("#clips video")).to_have_count(7)
    assert page.locator("#clips video").first.get_attribute("src") != before
    page.get_by_text("Rows and numbers shown").click()
    page.get_by_role("checkbox", name="Noise").uncheck()
    expect(page.locator("#clips video")).to_have_count(6)
    points = page.locator("#clips figure").first.locator(".points dt")
    assert "scene" in points.all_text_contents()
    page.get_by_role("checkbox", name="points below each player").uncheck()
    expect(points.first).to_be_hidden()


def test_the_worst_are_shown_with_pictures(tab: Tab) -> None:
    """Lowest scores of one row and of all, largest losses; a press leads to the players."""
    page = tab.page
    page.locator("#worst-gallery > summary").click()
    page.locator("#worst-dimension").select_option("scene")
    expect(page.locator("#worst li")).to_have_count(10)
    expect(page.locator("#worst img")).to_have_count(2)
    expect(page.get_by_text("no clip", exact=True)).to_have_count(8)
    values = [float(text) for text in page.locator("#worst b").all_text_contents()]
    assert values == sorted(values)
    page.locator("#worst-row").select_option("")
    expect(page.locator("#worst li")).to_have_count(20)
    assert "all rows: 20 of 70" in page.locator("#worst-state").inner_text()
    page.locator("#worst-kind").select_option("loss")
    page.locator("#worst-against").select_option("truth")
    assert all(text.startswith("\u2212") for text in page.locator("#worst b").all_text_contents())
    page.locator("#worst button").nth(3).click()
    assert page.evaluate("document.activeElement.id") == "player"
    assert (
        page.locator("#worst li").nth(3).locator("small").last.inner_text()
        == page.locator("#prompt-id").inner_text()
    )


def test_reduced_motion_plays_once(browser: Browser, reports: Reports) -> None:
    """Who asked for less motion gets no loop and no smooth scrolling."""
    tab = Tab(browser, reports.alone, motion="reduce")
    expect(tab.page.locator("#clips video")).to_have_count(7)
    assert tab.page.evaluate(
        "[...document.querySelectorAll('#clips video')].every(v => !v.loop && !v.autoplay)"
    )
    assert tab.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    tab.context.close()


def test_the_page_beside_its_clips_plays_them(browser: Browser, reports: Reports) -> None:
    """With nothing inside, the folder version plays files by relative path, every sample; the strict policy
    would refuse them.
    """
    text = reports.beside.read_text(encoding="utf-8")
    bare = reports.beside.with_name("bare.html")
    bare.write_text(text.replace('"clips":{"', '"clips":{},"none":{"'), encoding="utf-8")
    tab = Tab(browser, bare)
    tab.page.goto(f"{bare.as_uri()}#prompt=move_00")
    tab.requests.clear()
    tab.page.reload()
    ready(tab.page)
    tab.page.locator("#sample").select_option("1")
    ready(tab.page)
    assert {url.rsplit("/", 1)[1] for url in tab.loaded()} == {"move_00-0.mp4", "move_00-1.mp4"}
    link = tab.page.get_by_role("link", name="Download the clip of Rolling Forcing")
    assert (bare.parent / (link.get_attribute("href") or "")).is_file()
    assert link.get_attribute("download") == "rolling_forcing-move_00-1.mp4"
    assert tab.errors == []
    tab.context.close()


def test_it_opens_where_the_two_rows_differ_most(tab: Tab) -> None:
    """The prompt, among those with clips, with the largest difference of the two rows' totals, recomputed
    from the record with the weights of the formula; another choice of rows moves to its own.
    """
    page = tab.page
    data = json.loads(page.locator("#clip-data").text_content() or "")
    weights = {"temporal_flickering": 4 / 5 / 6.5, "subject_consistency": 4 / 5 / 6.5, "color": 1 / 5 / 9}
    assert {name: data["weights"][name] for name in weights} == pytest.approx(weights, abs=1e-5)

    def widest(a: str, b: str) -> str:
        gaps: dict[int, list[tuple[float, float]]] = {}
        for name, found in data["scores"].items():
            for place, prompt in enumerate(found["prompts"]):
                one, other = (found["points"].get(row, [None] * 99)[place] for row in (a, b))
                if one is not None and other is not None and data["prompts"][prompt]["clips"]:
                    gaps.setdefault(prompt, []).append((data["weights"][name], one - other))
        sizes = {n: abs(sum(w * x for w, x in each) / sum(w for w, _ in each)) for n, each in gaps.items()}
        return str(data["prompts"][max(sizes, key=sizes.__getitem__)]["id"])

    expect(page.locator("#prompt-id")).to_have_text(widest("cm_grpo", "raven"))
    page.locator("#row-a").select_option("longlive")
    expect(page.locator("#prompt-id")).to_have_text(widest("longlive", "raven"))
    page.locator("#row-b").select_option("noise")
    expect(page.locator("#prompt-id")).to_have_text(widest("longlive", "noise"))
    assert page.locator("#pair figcaption strong").all_text_contents() == ["LongLive recipe (toy)", "Noise"]
    sizes = [page.locator(f"{box} video").first.bounding_box() for box in ("#pair", "#others")]
    assert all(sizes) and sizes[0]["width"] > 3 * sizes[1]["width"]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_address_names_what_is_shown(browser: Browser, reports: Reports, width: int) -> None:
    """A copied address opens the same prompt, rows and sample; it is kept true; unknown words are said."""
    tab = Tab(browser, reports.alone, width)
    page = tab.page
    assert page.evaluate("location.hash") == ""
    page.goto(f"{reports.alone.as_uri()}#prompt=move_00&a=longlive&b=truth&sample=1")
    expect(page.locator("#prompt-id")).to_have_text("move_00")
    assert [page.locator(f"#{name}").input_value() for name in ("row-a", "row-b", "sample")] == [
        "longlive", "truth", "1",
    ]  # fmt: skip
    until(page, "document.getElementById('player').getBoundingClientRect().top < 300")
    page.get_by_role("button", name="Show RAVEN recipe (toy) large, on the right").click()
    assert page.evaluate("location.hash") == "#prompt=move_00&a=longlive&b=raven&sample=1"
    page.locator("#find-text").fill("move_01")
    page.locator("#prompts button").first.click()
    assert page.evaluate("location.hash") == "#prompt=move_01&a=longlive&b=raven"
    page.reload()
    expect(page.locator("#prompt-id")).to_have_text("move_01")
    page.goto(f"{reports.alone.as_uri()}#prompt=nothing&a=nobody&b=truth")
    expect(page.locator("#link-state")).to_have_text(
        "The link names row nobody and prompt nothing, which this report does not have."
    )
    assert page.locator("#row-b").input_value() == "truth"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.errors == []
    tab.context.close()


def test_the_two_fill_the_screen(tab: Tab) -> None:
    """Full screen shows the two clips and their controls, by button and by key."""
    page = tab.page
    page.get_by_role("button", name="Full screen").click()
    until(page, "document.fullscreenElement && document.fullscreenElement.id === 'stage'")
    page.get_by_role("button", name="Leave full screen").click()
    until(page, "!document.fullscreenElement")


def test_stills_are_printed(tab: Tab) -> None:
    """Paper shows a picture of every row for the prompt on screen, with its words."""
    page = tab.page
    page.emulate_media(media="print")
    assert page.locator("#stills img").count() == len(synthetic.ROWS)
    assert page.locator("#stills img").last.is_visible()
    assert page.locator("#prompt-id").text_content() in page.locator("#stills-text").inner_text()


def start_vote(page: Page, voter: str) -> None:
    page.locator("#vote-voter").fill(voter)
    page.keyboard.press("Enter")


def answer(page: Page, key: str) -> None:
    """Answer by key, once both clips are there."""
    expect(page.locator("[data-answer=left]")).to_be_enabled()
    page.keyboard.press(key)


@pytest.mark.parametrize(("kind", "width"), [("alone", 1280), ("beside", 390)])
def test_a_blind_vote(browser: Browser, reports: Reports, tmp_path: Path, kind: str, width: int) -> None:
    """From #vote to the merged votes: no name is anywhere while voting, keys and buttons answer, answers
    outlive a reload, and the exported file is one that the report takes.
    """
    tab = Tab(browser, getattr(reports, kind), width)
    page = tab.page
    page.goto(f"{getattr(reports, kind).as_uri()}#vote")
    page.reload()
    start_vote(page, "../x")
    assert "nickname of letters" in page.locator("#vote-state").inner_text()
    start_vote(page, "Ada L")
    expect(page.locator("[data-answer=left]")).to_be_enabled()
    secret = [*synthetic.ROWS, *(label for label, *_ in synthetic.ROWS.values()), "mp4"]
    seen = page.evaluate(
        "document.title + location.hash + document.body.innerText + document.getElementById('vote').outerHTML"
    )
    assert not [name for name in secret if name.lower() in seen.lower()]
    painted = "c => { const d = c.getContext('2d'); return c.width > 1 && c.height > 1; }"
    assert all(page.locator(f"#vote-{side}").evaluate(painted) for side in ("left", "right"))
    for key in ("ArrowLeft", "ArrowDown", "ArrowRight"):
        answer(page, key)
    expect(page.locator("#vote-state")).to_contain_text("Question 4. 3 answers kept")
    faults = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [fault["id"] for fault in faults if fault["impact"] in ("serious", "critical")] == []
    text = page.locator("#vote-prompt").inner_text()
    page.keyboard.press("Backspace")
    expect(page.locator("#vote-state")).to_contain_text("Question 3. 2 answers kept")
    answer(page, "ArrowRight")
    expect(page.locator("#vote-prompt")).to_have_text(text)
    page.reload()
    start_vote(page, "Ada L")
    expect(page.locator("#vote-state")).to_contain_text("Question 4. 3 answers kept")
    expect(page.locator("#vote-prompt")).to_have_text(text)
    expect(page.locator("[data-answer=tie]")).to_be_enabled()
    page.locator("[data-answer=tie]").click()
    with page.expect_download() as download:
        page.locator("#vote-export").click()
    assert download.value.suggested_filename == "votes-toybox-Ada L.json"
    path = tmp_path / "votes.json"
    download.value.save_as(path)
    page.keyboard.press("Escape")
    expect(page.locator("#main")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ballot = read_ballot(path)
    edited = tmp_path / "edited.json"
    edited.write_text(path.read_text(encoding="utf-8").replace('"left",\n', '"tie",\n'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not what its checksum says.*export it from"):
        read_ballot(edited)
    assert [vote.answer for vote in ballot.votes] == ["left", "tie", "right", "tie"]
    assert len({(vote.prompt, vote.left, vote.right) for vote in ballot.votes}) == 4
    assert votes_of_run(reports.beside.parent, [path]).votes == 4
    assert tab.errors == []
    tab.context.close()


def test_sides_are_random_and_half_of_the_questions_are_shared(browser: Browser, reports: Reports) -> None:
    """Two voters: question 1 and 3 are about the same clips for both, each pair comes on either side, and
    no question comes twice.
    """
    found = []
    for voter in ("ada", "bob"):
        tab = Tab(browser, reports.alone)
        tab.page.goto(f"{reports.alone.as_uri()}#vote")
        tab.page.reload()
        start_vote(tab.page, voter)
        for _ in range(16):
            answer(tab.page, "ArrowLeft")
        kept = tab.page.evaluate("Object.entries(localStorage).map(([key, value]) => value)")
        (ballot,) = [parse(Ballot, text, "the browser") for text in kept]
        found.append(ballot.votes)
        tab.context.close()
    asked = [[(v.prompt, v.sample, frozenset((v.left, v.right))) for v in votes] for votes in found]
    assert [len(set(each)) for each in asked] == [16, 16]
    assert asked[0][0] == asked[1][0]
    assert len(set(asked[0][::2]) & set(asked[1][::2])) >= 6
    assert asked[0][1::2] != asked[1][1::2]
    sides = [vote.left < vote.right for votes in found for vote in votes]
    assert 4 < sum(sides) < 28


def test_raw_and_normalised_switch(tab: Tab) -> None:
    """The radio buttons really change which number is shown."""
    shown = "[...document.querySelectorAll('#dimension-table .raw')].map(e => getComputedStyle(e).display)"
    assert set(tab.page.evaluate(shown)) == {"none"}
    tab.page.locator("#show-raw").check()
    assert "none" not in tab.page.evaluate(shown)


def test_main_table_sorts_and_hides_columns(tab: Tab) -> None:
    """A press orders the ranked rows by that column and says so; rows without a value stay last; columns come
    and go.
    """
    page = tab.page
    rows = "[...document.querySelectorAll('#main-table tbody:first-of-type tr')].map(r => r.dataset.row)"
    by_rank = page.evaluate(rows)
    head = page.locator("#main-table th[data-sort=total] .sort")
    head.press("Enter")
    assert page.evaluate(rows) == by_rank[::-1]
    expect(page.locator("#sorted")).to_have_text("Sorted by Toybox-Total, lowest first.")
    head.click()
    assert page.evaluate(rows) == by_rank
    shown = "[...document.querySelectorAll('#main-table .c-dimension')].map(e => getComputedStyle(e).display)"
    assert set(page.evaluate(shown)) == {"none"}
    page.locator("#col-dimensions").check()
    assert "none" not in page.evaluate(shown)
    page.locator("#main-table th[data-sort=color] .sort").click()
    found = page.evaluate(
        "[...document.querySelectorAll('#main-table tbody:first-of-type [data-col=color]')].map(e => "
        "+e.dataset.value)"
    )
    assert found == sorted(found, reverse=True)


def test_two_rows_are_compared_in_both_directions(browser: Browser, reports: Reports) -> None:
    """The chosen pair's numbers are those of the record, turned around with the choice; one row against
    itself says so.
    """
    tab = Tab(browser, reports.alone, 390)
    page = tab.page
    one, other, line = (page.locator(name) for name in ("#pair-a", "#pair-b", "#compare-table tbody tr"))

    def total() -> list[str]:
        return line.first.inner_text().split()

    one.select_option("raven")
    other.select_option("longlive")
    data = json.loads(page.locator("#pair-data").text_content() or "")
    (pair,) = [p for p in data["pairs"] if p[:3] == ["raven", "longlive", "total"]]
    numbers = [f"{x:+.{n}f}" for x, n in zip(pair[3:5], (2, 1), strict=True)]
    assert total()[:5] == ["Toybox-Total", *numbers, "to", f"{pair[5]:+.1f}"]
    expect(line).to_have_count(19)
    one.select_option("longlive")
    other.select_option("raven")
    assert total()[:5] == ["Toybox-Total", f"{-pair[3]:+.2f}", f"{-pair[5]:+.1f}", "to", f"{-pair[4]:+.1f}"]
    needed = page.locator("#pair-power")
    expect(needed).to_contain_text(f"would need {data['needed']['raven longlive'][0][1]:,} prompts or ")
    assert page.evaluate("[numbered(1, 'seed'), numbered(1200, 'seed')]") == ["1 seed", "1,200 seeds"]
    assert re.findall(r"\b1 \w+s\b", needed.inner_text()) == []
    other.select_option("longlive")
    expect(needed).to_be_empty()
    expect(page.locator("#compare-table tbody")).to_have_text("Choose two different rows.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.errors == []
    tab.context.close()
