"""The report in a real browser: no console error, no sideways scrolling on a phone, players that play in step."""

import json
import shutil
import time
from collections.abc import Iterator

import pytest

from tests.reports import synthetic
from tests.reports.test_report import run_script

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"{' and '.join(MISSING)} not installed (apt-get install chromium chromium-driver)",
    ),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Headless Chromium with an empty profile, showing a synthetic report."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("toybox")
    scores = synthetic.make_results(folder, frames=33, size=64, repeated=True)
    with pytest.MonkeyPatch.context() as patch:
        page = run_script(folder, scores, synthetic.report_settings(), patch)
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    browser.page = page.as_uri()
    yield browser
    browser.quit()


def resize(driver, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})


def wait(driver, script: str, seconds: float = 10.0):
    """The script's first truthy value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := driver.execute_script(f"return {script}"):
            return value
        time.sleep(0.05)
    raise AssertionError(f"not true after {seconds:g} s: {script}")


def errors(driver) -> list[str]:
    return [json.dumps(line) for line in driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


def test_no_console_errors_and_no_overflow(driver) -> None:
    """Guards the CSP hash and every inlined picture (a refused one is a console error), and the phone layout."""
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
        resize(driver, width, scheme)
        driver.get(driver.page)
        wait(driver, "document.querySelectorAll('#clips video').length")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert errors(driver) == []


def test_dark_page_is_dark_and_its_figures_are_light(driver) -> None:
    """A figure drawn in fixed black would vanish on the dark page."""
    script = "getComputedStyle(document.querySelector('svg text')).fill + getComputedStyle(document.body).backgroundColor"
    found = {}
    for scheme in ("light", "dark"):
        resize(driver, 1280, scheme)
        driver.get(driver.page)
        found[scheme] = driver.execute_script(f"return {script}")
    assert found == {
        "light": "rgb(91, 101, 112)rgb(255, 255, 255)",
        "dark": "rgb(160, 169, 179)rgb(20, 23, 27)",
    }


def test_players_play_step_and_change_prompt(driver) -> None:
    """All clips of a prompt run from one button and nothing plays before it; the keyboard reaches everything."""
    from selenium.webdriver.common.keys import Keys

    resize(driver, 1280)
    driver.get(driver.page)
    videos = "[...document.querySelectorAll('#clips video')]"
    wait(driver, f"{videos}.length === {len(synthetic.ROWS)} && {videos}.every(v => v.readyState >= 2)")
    assert driver.execute_script(f"return {videos}.every(v => v.paused && v.currentTime === 0)")
    play = driver.find_element("id", "play")
    play.send_keys(Keys.ENTER)
    wait(driver, f"{videos}.every(v => !v.paused && v.currentTime > 0.1)")
    assert play.text == "Pause"
    play.click()
    assert driver.execute_script(f"return {videos}.every(v => v.paused)")
    driver.find_element("id", "start").click()
    for _ in range(3):
        driver.find_element("id", "forward").click()
    wait(driver, f"{videos}.every(v => Math.abs(v.currentTime - 3.1 / 16) < 0.01)")
    assert driver.find_element("id", "time").text == "frame 4"
    driver.find_element("id", "back").click()
    wait(driver, f"{videos}.every(v => Math.abs(v.currentTime - 2.1 / 16) < 0.01)")
    before = driver.find_element("id", "prompt-text").text
    assert before == synthetic.INJECTION
    driver.find_element("id", "next").click()
    assert driver.find_element("id", "prompt-text").text == "a red circle, pair number 0"
    assert errors(driver) == []


def test_raw_and_normalised_switch(driver) -> None:
    """The radio buttons really change which number is shown."""
    resize(driver, 1280)
    driver.get(driver.page)
    shown = "[...document.querySelectorAll('#dimension-table .raw')].map(e => getComputedStyle(e).display)"
    assert set(driver.execute_script(f"return {shown}")) == {"none"}
    driver.find_element("id", "show-raw").click()
    assert "none" not in driver.execute_script(f"return {shown}")


def test_main_table_sorts_and_hides_columns(driver) -> None:
    """A press orders the ranked rows by that column and says so; rows without a value stay last; columns come and go."""
    from selenium.webdriver.common.keys import Keys

    resize(driver, 1280)
    driver.get(driver.page)
    rows = "[...document.querySelectorAll('#main-table tbody:first-of-type tr')].map(r => r.dataset.row)"
    by_rank = driver.execute_script(f"return {rows}")
    head = driver.find_element("css selector", "#main-table th[data-sort=total] .sort")
    head.send_keys(Keys.ENTER)
    assert driver.execute_script(f"return {rows}") == by_rank[::-1]
    assert driver.find_element("id", "sorted").text.startswith("Sorted by Toybox-Total, lowest first")
    head.click()
    assert driver.execute_script(f"return {rows}") == by_rank
    shown = "[...document.querySelectorAll('#main-table .c-dimension')].map(e => getComputedStyle(e).display)"
    assert set(driver.execute_script(f"return {shown}")) == {"none"}
    driver.find_element("id", "col-dimensions").click()
    assert "none" not in driver.execute_script(f"return {shown}")
    driver.find_element("css selector", "#main-table th[data-sort=color] .sort").click()
    values = "[...document.querySelectorAll('#main-table tbody:first-of-type [data-col=color]')].map(e => +e.dataset.value)"
    found = driver.execute_script(f"return {values}")
    assert found == sorted(found, reverse=True)
    assert errors(driver) == []


def test_two_rows_are_compared_in_both_directions(driver) -> None:
    """The chosen pair's numbers are those of the record, turned around with the choice; one row against itself says so."""
    from selenium.webdriver.support.ui import Select

    resize(driver, 390)
    driver.get(driver.page)
    one, other = (Select(driver.find_element("id", name)) for name in ("pair-a", "pair-b"))

    def total() -> list[str]:
        return driver.find_element("css selector", "#compare-table tbody tr").text.split()

    one.select_by_value("raven")
    other.select_by_value("longlive")
    data = json.loads(driver.execute_script("return document.getElementById('pair-data').textContent"))
    (pair,) = [p for p in data["pairs"] if p[:3] == ["raven", "longlive", "total"]]
    assert total()[:5] == [
        "Toybox-Total",
        *(f"{x:+.{n}f}" for x, n in zip(pair[3:5], (2, 1), strict=True)),
        "to",
        f"{pair[5]:+.1f}",
    ]
    assert driver.execute_script("return document.querySelectorAll('#compare-table tbody tr').length") == 19
    one.select_by_value("longlive")
    other.select_by_value("raven")
    assert total()[:5] == ["Toybox-Total", f"{-pair[3]:+.2f}", f"{-pair[5]:+.1f}", "to", f"{-pair[4]:+.1f}"]
    other.select_by_value("longlive")
    assert driver.find_element("css selector", "#compare-table tbody").text == "Choose two different rows."
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert errors(driver) == []
