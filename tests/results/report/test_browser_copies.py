"""Copies and downloads of what the report shows."""

import csv
import io

import pytest

from fedprompt.results.report import write as write_report


@pytest.fixture(scope="module")
def copied(wait_until):
    """Presses Copy and returns what the clipboard was given."""

    def copy(page, what, kind):
        block = page.locator(f"[data-export={what}]")
        block.get_by_role("combobox").select_option(kind)
        block.get_by_role("button", name="Copy").click()
        wait_until(page, "document.getElementById('said').textContent.startsWith('Copied')")
        return page.evaluate("window.copied")

    return copy


def only_two(page):
    page.get_by_label("filter method").fill("pep-fedpt,fedvpt")
    page.locator("#board thead th", has_text="all settings").locator("button").click()
    page.get_by_text("Choose columns").click()
    for name in ("family", "clients upload", "digits dirichlet(0.05)", "s/run"):
        page.get_by_role("checkbox", name=name, exact=True).uncheck()


def test_csv_has_the_rows_order_and_columns_shown(page, copied):
    only_two(page)
    rows = list(csv.reader(io.StringIO(copied(page, "board", "csv"))))
    setting = "digits dirichlet(0.5)"
    parts = [f"{setting}{part}" for part in ("", " std", " low", " high")]
    assert rows[0] == ["method", "all settings", "all settings low", "all settings high", *parts, "MB uploaded"]
    assert [row[0] for row in rows[1:]] == ["fedvpt", "pep-fedpt"]
    assert rows[1][1] == "55.0"
    assert rows[1][4:6] == ["60.0", "1.4"]
    assert 59 <= float(rows[1][6]) < 60 < float(rows[1][7]) <= 61
    assert rows[1][8] == "2.50"


def test_markdown_and_latex_have_what_is_shown(page, copied):
    only_two(page)
    page.locator("#metric").select_option("held-out clients, mean")
    lines = copied(page, "board", "md").splitlines()
    assert lines[0] == "| method | all settings | digits dirichlet(0.5) | MB uploaded |"
    assert lines[1] == "| --- | ---: | ---: | ---: |"
    assert lines[2].startswith("| pep-fedpt | 40.0 | 40.0 ±0.0 | 2.50 |")  # equal scores: in the order of the methods
    assert "accuracy of held-out clients, mean in percent" in lines[5]
    text = copied(page, "board", "tex")
    assert r"\begin{tabular}{lrrr}" in text
    assert r"fedvpt & 40.0 & 40.0 $\pm$0.0 & 2.50 \\" in text
    assert r"; 2 of 4 methods" in text


def test_markup_of_names_is_escaped(page, copied):
    text = copied(page, "board", "md")
    assert "| &lt;b onmouseover=alert(1)&gt; |" in text
    assert "| local |" in text
    assert r"\textless{}b onmouseover=alert(1)\textgreater{} &" in copied(page, "board", "tex")


def test_a_spreadsheet_executes_no_cell(opened, write, runs, wide, copied):
    for name in ("=1+1", "+a", "-b", "@c", ' "quoted", too', "d"):
        write(name)
    write("d", error="stopped", alpha=0.5)
    page = opened(write_report(runs), wide)
    rows = list(csv.reader(io.StringIO(copied(page, "board", "csv"))))
    assert sorted(row[0] for row in rows[1:]) == sorted(["'=1+1", "'+a", "'-b", "'@c", '"quoted", too', "d"])
    assert "-" not in {cell for row in rows for cell in row}  # no value is an empty cell


def test_negative_numbers_stay_numbers_in_csv(page, copied):
    page.get_by_label("First method").select_option("fedvpt")
    page.get_by_label("Second method").select_option("pep-fedpt")
    rows = list(csv.DictReader(io.StringIO(copied(page, "pair", "csv"))))
    names = ("", " low", " high")
    assert [rows[0][f"fedvpt minus pep-fedpt{name}"] for name in names] == ["-10.0"] * 3
    assert rows[0]["fedvpt"] == "50.0"
    assert "| -10.0 [-10.0, -10.0] |" in copied(page, "pair", "md")


def test_numbers_of_charts_are_copied_as_shown(page, copied):
    page.get_by_label("filter method").fill("pep-fedpt")
    page.locator("[data-numbers=curves] summary").click()
    assert copied(page, "curves", "csv") == "method,0,2\r\npep-fedpt,10,60\r\n"
    page.locator("[data-numbers=partition] summary").click()
    assert copied(page, "partition", "csv").splitlines()[:2] == ["client,class 0,class 1,class 2", "0,4,0,0"]


def test_a_browser_that_forbids_copying_shows_the_text(page):
    page.evaluate("window.forbidden = true")
    page.get_by_label("format of the copy: leaderboard").select_option("tex")
    page.get_by_role("button", name="Copy: leaderboard").click()
    assert r"\begin{tabular}" in page.locator("#detail textarea").input_value()


def test_tables_are_downloaded(page, tmp_path):
    for kind in ("csv", "md", "tex"):
        page.get_by_label("format of the copy: leaderboard").select_option(kind)
        with page.expect_download() as found:
            page.get_by_role("button", name="Download: leaderboard").click()
        assert found.value.suggested_filename == f"runs-board-seen.mean.{kind}"
        found.value.save_as(tmp_path / "table")
        assert "pep-fedpt" in (tmp_path / "table").read_text()


def test_charts_are_downloaded_as_pictures(page, tmp_path):
    page.get_by_label("filter method").fill("pep-fedpt,fedvpt")
    for chart, kind in (("heat", "svg"), ("costs", "svg"), ("partition", "png")):
        with page.expect_download() as found:
            page.locator(f"[data-chart={chart}][data-image={kind}]").click()
        assert found.value.suggested_filename.endswith(f".{kind}")
        found.value.save_as(tmp_path / chart)
    for chart in ("heat", "costs"):
        picture = (tmp_path / chart).read_text()
        assert "<svg" in picture
        assert "pep-fedpt" in picture
        assert "local" not in picture
    assert (tmp_path / "partition").read_bytes().startswith(b"\x89PNG")
