"""Filters of the report's leaderboard."""

import pytest

from tests.results.report.conftest import NASTY

FIRST = "filter digits dirichlet(0.05)"  # 60, 50, 40, failed


def test_filters_take_alternatives_wildcards_and_bounds(page, methods):
    everything = ["pep-fedpt", "fedvpt", NASTY, "local"]
    for column, text, left in (
        ("filter method", "PEP", ["pep-fedpt"]),
        ("filter method", "pep, local", ["pep-fedpt", "local"]),
        ("filter method", "vpt|local", ["fedvpt", "local"]),
        ("filter method", "*vpt", ["fedvpt"]),
        ("filter method", "vpt*", []),
        ("filter method", "=fedvpt", ["fedvpt"]),
        ("filter method", "=vpt", []),
        ("filter method", "(1)>", [NASTY]),
        ("filter method", "", everything),
        (FIRST, ">=50", ["pep-fedpt", "fedvpt"]),
        (FIRST, "> 50", ["pep-fedpt"]),
        (FIRST, "<=50%", ["fedvpt", NASTY]),
        (FIRST, "<50", [NASTY]),
        (FIRST, "=50", ["fedvpt"]),
        (FIRST, ">55|<45", ["pep-fedpt", NASTY]),
        (FIRST, "fail", ["local"]),
        (FIRST, "6*", ["pep-fedpt"]),
        (FIRST, ",", everything),
    ):
        page.get_by_label(column).fill(text)
        assert (text, methods(page)) == (text, left)
        assert page.locator("#filter-error").inner_text() == ""


def test_a_filter_that_cannot_be_read_says_so_and_hides_nothing(page, methods):
    for column, text, reason in (
        (FIRST, ">abc", '"abc" is not a number'),
        (FIRST, "50,>=", "a number is missing after >="),
        ("filter method", ">5", "> is for columns of numbers"),
    ):
        page.get_by_label(column).fill(text)
        assert len(methods(page)) == 4
        assert page.get_by_label(column).get_attribute("aria-invalid") == "true"
        message = page.locator("#filter-error")
        assert message.is_visible()
        assert message.inner_text() == f"Filter of {column.removeprefix('filter ')}: {reason}. It is not applied."
        page.get_by_label(column).fill("")
        assert page.get_by_label(column).get_attribute("aria-invalid") is None
        assert message.inner_text() == ""


def test_two_columns_are_filtered_together_and_cleared_at_once(page, methods):
    page.get_by_label("filter method").fill("pep,fedvpt")
    page.get_by_label(FIRST).fill("<55")
    assert methods(page) == ["fedvpt"]
    assert page.locator("#count").inner_text() == "1 of 4 methods"
    page.get_by_role("button", name="Clear filters").click()
    assert len(methods(page)) == 4
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "filter method"
    assert page.get_by_label(FIRST).input_value() == ""


def drawn(page, chart):
    """The names of the methods that a chart shows."""
    return page.evaluate(
        f"document.getElementById('{chart}').data.map((t, i) => [t, i]).filter(([t]) => t.visible === true)"
        ".map(([t, i]) => document.getElementById('" + chart + "')._fullData[i].name)"
    )


def test_the_filter_and_the_order_apply_to_every_chart_and_their_numbers(page):
    page.get_by_label("filter method").fill("pep-fedpt,fedvpt")
    page.locator("#board thead th", has_text="all settings").locator("button").click()  # lowest first
    assert page.evaluate("document.getElementById('heat').data[0].y") == ["fedvpt", "pep-fedpt"]
    assert page.evaluate("document.getElementById('heat').data[0].z[0][0]") == pytest.approx(50)
    for chart in ("curves", "clients", "costs"):
        assert drawn(page, chart) == ["pep-fedpt", "fedvpt"]
        page.locator(f"[data-numbers={chart}] summary").click()
        page.wait_for_selector(f"[data-numbers={chart}] tbody th")
        names = page.locator(f"[data-numbers={chart}] tbody th").all_inner_texts()
        assert names == ["fedvpt", "pep-fedpt"]
    page.locator("#heat .nsewdrag").click(position={"x": 5, "y": 5})
    assert "fedvpt in digits dirichlet(0.05)" in page.locator("#detail").inner_text()


def test_charts_say_that_no_method_passes_the_filters(page):
    page.get_by_label("filter method").fill("unknown")
    assert page.locator("#count").inner_text() == "No method passes the filters"
    for chart in ("heat", "curves", "clients", "costs"):
        assert page.locator(f"#{chart}").inner_text().strip() == "No method passes the filters"


def test_the_metric_applies_to_every_chart_or_its_caption_says_that_there_are_no_such_values(page):
    page.locator("#metric").select_option("seen clients, mean, prior-corrected")
    assert page.evaluate("document.getElementById('costs').data[0].y") == pytest.approx([70])
    assert page.evaluate("document.getElementById('clients').data[0].y[0]") == pytest.approx(
        50
    )  # of the prior: .75, .5
    assert drawn(page, "curves") == []
    assert page.locator("#curves-caption").inner_text() == (
        "No finished run has seen clients, mean, prior-corrected per round."
    )
    page.locator("#metric").select_option("held-out clients, mean")
    assert page.evaluate("document.getElementById('costs').data[0].y") == pytest.approx([40])
    assert page.evaluate("document.getElementById('clients').data[0].y[0]") == pytest.approx(100)
    page.locator("#metric").select_option("seen clients, personalised, mean")
    for chart, kind in (("curves", " per round"), ("clients", " per client"), ("costs", "")):
        said = f"No finished run has seen clients, personalised, mean{kind}"
        assert page.locator(f"#{chart}").inner_text().strip() == said


def test_hidden_columns_leave_the_table_the_heat_map_and_the_filters(page, methods):
    page.get_by_label(FIRST).fill(">55")
    page.get_by_text("Choose columns").click()
    page.get_by_role("checkbox", name="digits dirichlet(0.05)", exact=True).uncheck()
    assert len(methods(page)) == 4
    assert not page.get_by_label(FIRST).is_visible()
    assert page.evaluate("document.getElementById('heat').data[0].x") == ["digits dirichlet(0.5)"]
