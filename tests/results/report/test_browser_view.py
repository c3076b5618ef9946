"""The report's view in its address, its comparison of two methods, and settings without finished runs."""

import re

from fedprompt.results.report import write as write_report


def changed(page):
    page.locator("#metric").select_option("seen clients, mean, prior-corrected")
    page.get_by_label("Setting of the charts below").select_option("digits dirichlet(0.5)")
    page.get_by_label("filter method").fill("fed*,pep*")
    page.locator("#board thead th", has_text="method").locator("button").click()
    page.get_by_label("First method").select_option("fedvpt")
    page.get_by_label("Second method").select_option("pep-fedpt")
    page.locator("#board tbody tr", has_text="pep-fedpt").locator(".open").first.click()


def test_a_link_shows_the_same_view(page, opened, report, methods, wide):
    changed(page)
    other = opened(report, wide, "#" + page.url.split("#")[1])
    assert methods(other) == ["fedvpt", "pep-fedpt"]
    assert other.locator("#metric option:checked").inner_text() == "seen clients, mean, prior-corrected"
    assert other.locator("#setting").input_value() == "digits dirichlet(0.5)"
    assert other.locator("#pair-0").input_value() == "fedvpt"
    assert "pep-fedpt in digits dirichlet(0.05)" in other.locator("#detail").inner_text()
    assert not other.locator("#notice").is_visible()
    assert other.url == page.url


def test_back_and_forward_move_between_views(page, methods, wait_until):
    page.get_by_label("filter method").press_sequentially("vpt")  # one step, not three
    page.locator("#board tbody tr", has_text="fedvpt").locator(".open").first.click()
    page.go_back()
    assert not page.locator("#detail").is_visible()
    assert methods(page) == ["fedvpt"]
    page.go_back()
    assert len(methods(page)) == 4
    assert page.get_by_label("filter method").input_value() == ""
    page.go_forward()
    assert methods(page) == ["fedvpt"]
    page.go_forward()
    assert page.locator("#detail").is_visible()
    page.keyboard.press("Escape")
    wait_until(page, "!location.hash.includes('runs=')")


def test_a_broken_link_is_ignored_with_a_notice(opened, report, methods, wide, wait_until):
    page = opened(report, wide, "#hide=x&%E0%A4%A&=")
    for fragment in ("metric=unknown", "nonsense", "runs=a&of=b", "filter+x=1"):
        assert "It is ignored." in page.locator("#notice").inner_text()
        assert len(methods(page)) == 4
        page.evaluate(f"location.hash = '{fragment}'")
        name = fragment.split("=")[-1] if fragment != "filter+x=1" else "x"
        wait_until(page, f"document.getElementById('notice').textContent.includes('{name}')")
    page.get_by_label("filter method").fill("pep")
    assert methods(page) == ["pep-fedpt"]


def test_the_link_to_the_leaderboard_keeps_the_view(page, methods, wait_until):
    page.get_by_label("filter method").fill("pep")
    before = page.url
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    wait_until(page, "location.hash !== '#leaderboard'")
    assert page.url == before
    assert methods(page) == ["pep-fedpt"]
    assert not page.locator("#notice").is_visible()


def test_two_methods_are_compared_with_intervals(page):
    page.get_by_label("First method").select_option("fedvpt")
    page.get_by_label("Second method").select_option("pep-fedpt")
    rows = [row.inner_text().split("\t") for row in page.locator("#pair-table tbody tr").all()]
    assert [row[0] for row in rows] == ["digits dirichlet(0.05)", "digits dirichlet(0.5)", "all settings"]
    for row, mean in zip(rows, (50, 60, 55), strict=True):
        assert row[1] == "-10.0 [-10.0, -10.0]"
        assert row[3].startswith(f"{mean}.0 [")
        assert row[4].startswith(f"{mean + 10}.0 [")
    assert [(row[2], row[5]) for row in rows] == [("50 %", "2"), ("50 %", "2"), ("87.5 %", "4")]
    page.get_by_label("First method").select_option("pep-fedpt")
    assert page.locator("#pair-table").inner_text() == "Choose two different methods."
    page.get_by_label("Second method").select_option("fedvpt")
    assert page.locator("#pair-table tbody td").first.inner_text() == "+10.0 [+10.0, +10.0]"


def test_scores_show_their_intervals(page):
    button = page.locator("#board tbody tr", has_text="pep-fedpt").locator(".open").first
    assert button.get_attribute("title").startswith("interval 5")
    assert button.get_attribute("title").endswith("(50 %)")
    assert "interval" in page.evaluate("document.getElementById('heat').data[0].customdata[0][0]")
    bars = page.evaluate("document.getElementById('costs').data[0].error_y")
    assert 0 < bars["array"][0] <= 1
    assert 0 < bars["arrayminus"][0] <= 1
    button.click()
    assert "60.0 ±1.4 %, interval 5" in page.locator("#detail").inner_text()


def test_the_protocol_is_at_the_top(page):
    text = page.locator("#protocol").inner_text()
    for line in ("data digits", "rounds 2", "learning rate 0.01", "seeds 0, 1", "torch 2.9"):
        assert line in " ".join(text.split())


def test_a_setting_with_only_failed_runs_says_that_none_is_finished(opened, write, runs, wide):
    write("a", 0.05)
    write("b", 0.05)
    write("a", 0.5, error="stopped")
    write("b", 0.5, error="stopped")
    page = opened(write_report(runs), wide)
    page.get_by_label("Setting of the charts below").select_option("digits dirichlet(0.5)")
    for chart in ("curves", "clients", "costs", "partition"):
        assert page.locator(f"#{chart}").inner_text().strip() == "No finished run in this setting"
        assert page.locator(f"#{chart}-caption").inner_text() == "No finished run in this setting."
        page.locator(f"[data-numbers={chart}] summary").click()
        numbers = page.locator(f"[data-numbers={chart}] .numbers", has_text=re.compile(r"\S"))
        numbers.wait_for()  # written once the block is open
        assert numbers.inner_text() == "No finished run in this setting."
    page.get_by_role("button", name="failed").first.click()
    assert "stopped" in page.locator("#detail").inner_text()


def test_a_single_method_in_a_single_setting_has_nothing_to_compare(opened, write, runs):
    write("a")
    page = opened(write_report(runs), "phone")
    assert page.locator("#pair-limit").inner_text() == "One method: nothing to compare."
    assert page.locator("#board tbody td").nth(2).inner_text().strip() == "50.0"


def test_no_two_methods_share_colour_dash_and_marker(opened, write, runs):
    names = [f"m{i}" for i in range(38)] + ["fedcof", "knn-per", "fedvpt", "fedvpt-ft", "pep-fedpt", "fed3r"]
    for name in names:
        write(name)
    page = opened(write_report(runs), "phone")
    looks = page.evaluate(
        "document.getElementById('costs')._fullData.map(t => [t.marker.color, t.marker.symbol])"
        ".concat(document.getElementById('curves')._fullData.map(t => [t.line?.color, t.line?.dash, t.marker?.symbol]))"
    )
    costs = {tuple(look) for look in looks[: len(names)]}
    assert len(costs) == len(names)
