"""The report in a headless browser."""

import json

import pytest

from tests.results.report.conftest import NASTY


def test_a_click_on_a_heading_sorts_and_another_reverses_the_order(page, methods):
    assert methods(page) == ["pep-fedpt", "fedvpt", NASTY, "local"]
    heading = page.locator("#board thead th", has_text="all settings")
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").click()
    assert methods(page) == [NASTY, "fedvpt", "pep-fedpt", "local"]  # rows without a value are last
    assert heading.get_attribute("aria-sort") == "ascending"
    page.locator("#board thead th", has_text="method").locator("button").press("Enter")
    assert methods(page) == [NASTY, "fedvpt", "local", "pep-fedpt"]


def test_filters_take_text_and_bounds(page, methods):
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
    assert page.locator("#board tbody tr").first.locator("td").nth(2).inner_text().strip() == "75.0"


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
