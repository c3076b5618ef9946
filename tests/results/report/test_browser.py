"""The report in a headless browser; skipped without Chromium."""

import json
import shutil

import pytest

from fedprompt.results.report import write as write_report
from tests.results.conftest import writer

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(NAMES)} is installed")
NASTY = "<b onmouseover=alert(1)>"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    write = writer(folder)
    for method, seen in (("pep-fedpt", 0.6), ("fedvpt", 0.5), (NASTY, 0.4)):
        for alpha in (0.05, 0.5):
            for seed in range(2):
                run = write(method, alpha, seed, seen + 0.1 * (alpha == 0.5), config={"method": method})
                (run / "log.txt").write_text(f"{method} started")
    write("local", error="out of <i>memory</i>")
    return write_report(folder / "runs")


@pytest.fixture(params=[pytest.param("desktop", marks=pytest.mark.slow), "phone"])
def page(browser, report, request):
    """The opened report; the test fails on any browser message or network request."""
    wide = request.param == "desktop"
    view = {"width": 1280, "height": 900} if wide else {"width": 390, "height": 844}
    opened = browser.new_page(viewport=view, color_scheme="light" if wide else "dark")
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text) if message.type != "log" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda asked: None if asked.url == report.as_uri() else problems.append(asked.url[:200]))
    opened.on("dialog", lambda dialog: problems.append(dialog.message))
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]", state="attached")
    yield opened
    opened.close()
    assert problems == []


def methods(page):
    return [name.inner_text() for name in page.locator("#board tbody tr:visible th").all()]


def test_a_click_on_a_heading_sorts_and_another_reverses_the_order(page):
    assert methods(page) == ["pep-fedpt", "fedvpt", NASTY, "local"]
    heading = page.locator("#board thead th", has_text="all settings")
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert methods(page) == [NASTY, "fedvpt", "pep-fedpt", "local"]  # rows without a value are last
    assert heading.get_attribute("aria-sort") == "ascending"
    page.locator("#board thead th", has_text="method").locator("button").press("Enter")
    assert methods(page) == [NASTY, "fedvpt", "local", "pep-fedpt"]


def test_filters_take_text_and_bounds(page):
    page.get_by_label("filter method").fill("PEP")
    assert methods(page) == ["pep-fedpt"]
    assert page.locator("#count").inner_text() == "1 of 4 methods"
    page.get_by_label("filter method").fill("")
    page.get_by_label("filter digits dirichlet(0.5)").fill("<65")
    assert methods(page) == ["fedvpt", NASTY]


def test_a_number_opens_its_runs_and_escape_closes_them(page):
    page.locator("#board tbody tr", has_text="pep-fedpt").locator(".open").first.click()
    detail = page.locator("#detail")
    assert "pep-fedpt in digits dirichlet(0.05)" in detail.inner_text()
    detail.locator("summary").nth(1).click()
    text = detail.inner_text()
    for part in ("bench run --method pep-fedpt", "rounds = 2", "pep-fedpt started"):
        assert part in text
    page.keyboard.press("Escape")
    assert not detail.is_visible()


def test_a_failed_setting_opens_its_error_as_text(page):
    page.get_by_role("button", name="failed").press("Enter")
    assert "out of <i>memory</i>" in page.locator("#detail").inner_text()


def test_another_metric_changes_the_numbers_and_the_colours(page):
    before = page.evaluate("document.getElementById('heat').data[0].z[0][0]")
    page.locator("#metric").select_option("seen clients, mean, prior-corrected")
    assert page.evaluate("document.getElementById('heat').data[0].z[0][0]") == pytest.approx(before + 10)
    assert page.locator("#board tbody tr").first.locator("td").nth(2).inner_text() == "75.0"


def test_the_selected_setting_is_drawn_and_its_numbers_can_be_shown(page):
    page.get_by_label("Setting of the charts below").select_option("digits dirichlet(0.5)")
    assert page.evaluate("document.getElementById('curves').data[0].y.at(-1)") == pytest.approx(70)
    page.locator("[data-numbers=curves] summary").click()
    rows = page.locator("[data-numbers=curves] tbody tr")
    assert rows.first.inner_text().split() == ["pep-fedpt", "10", "70"]
    assert page.locator("[data-numbers=curves] b").count() == 0


def test_a_click_in_the_heat_map_opens_the_same_runs(page):
    page.locator("#heat .nsewdrag").click(position={"x": 5, "y": 5})
    assert "pep-fedpt in digits dirichlet(0.05)" in page.locator("#detail").inner_text()


def test_the_theme_button_switches_between_dark_and_light(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    ink = "document.getElementById('curves')._fullLayout.font.color"
    before, before_ink = page.evaluate(colour), page.evaluate(ink)
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate(colour) != before
    assert page.evaluate(ink) != before_ink


def test_the_latex_is_shown_to_be_copied_by_hand(page):
    page.get_by_role("button", name="Copy as LaTeX").click()
    assert r"\begin{tabular}" in page.locator("#detail textarea").input_value()


def test_nothing_is_wider_than_the_screen(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_control_has_an_accessible_name(page):
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, select, input, a[href], [role=img], [tabindex='0']")]
        .filter(e => !e.closest(".js-plotly-plot"))
        .filter(e => !(e.ariaLabel || e.textContent.trim() || (e.labels && e.labels.length)))
        .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert json.dumps(unnamed) == "[]"
