"""Names and errors in records that attack a terminal, a spreadsheet, a Markdown page or an encoding."""

import csv
import io
import json

import pandas as pd
import pytest

from fedprompt.results.io import atomic_write
from fedprompt.results.records.export import export, export_folder
from fedprompt.results.records.frames import load
from fedprompt.results.tables.leaderboard import leaderboard, render

SCRIPT = "<script>alert(1)</script>"


@pytest.mark.parametrize("kind", ["text", "csv", "md", "latex", "json"])
@pytest.mark.parametrize("name", ["\x1b[2J\x1b]0;x\x07", "head\rfedvpt", "caf\udce9", "two\nlines"], ids=ascii)
def test_no_table_contains_what_a_terminal_or_an_encoding_cannot_take(name, kind, write, runs):
    write(name)
    table = render(leaderboard(load(runs)), kind)
    assert table.encode()
    assert not set("\x1b\x07\r") & set(table)
    plain = render(leaderboard(load(runs).assign(method="head")), kind)
    assert len(table.splitlines()) == len(plain.splitlines())


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)"])
def test_csv_files_contain_no_formula(name, write, runs, tmp_path):
    write(name, error=name)
    export(runs, tmp_path / "all.csv")
    for text in ((tmp_path / "all.csv").read_text(), render(leaderboard(load(runs)), "csv")):
        (row, *_) = csv.DictReader(io.StringIO(text))
        assert row["method"] == f"'{name}"
    assert pd.read_csv(tmp_path / "all.csv")["error"].tolist() == [f"'{name}"]


def test_negative_numbers_stay_numbers_in_csv_files(write, runs, tmp_path):
    write(convergence={"seen_change": -0.25}, config={"note": "-0.5"})
    export(runs, tmp_path / "all.csv")
    row = pd.read_csv(tmp_path / "all.csv").iloc[0]
    assert (row["convergence_seen_change"], row["config.note"]) == (-0.25, -0.5)


def test_a_heading_of_a_csv_file_is_no_formula(write, runs, tmp_path):
    write(**{"=1+1": 3.0})
    export(runs, tmp_path / "all.csv")
    assert "'=1+1" in pd.read_csv(tmp_path / "all.csv").columns


def test_markdown_contains_no_html_of_a_record(write, runs, tmp_path):
    write(SCRIPT, images={"a`<b>|": 1})
    write(SCRIPT, seed=1, error="it broke")
    table = render(leaderboard(load(runs)), "md")
    assert "<" not in table
    assert "| &lt;script&gt;alert(1)&lt;/script&gt; |" in table
    export_folder(runs, tmp_path / "out")
    assert "| `images_a'<b>\\|` |" in (tmp_path / "out" / "columns.md").read_text()


def test_a_long_error_in_a_record_is_bounded(write, runs):
    write(error="x" * 1_000_000)
    (error,) = load(runs)["error"]
    assert len(error) < 5_000
    assert "characters left out" in error


def test_a_name_that_is_not_utf8_is_written_as_code(tmp_path):
    atomic_write(tmp_path / "page.html", "<h1>runs\udcff</h1>")
    assert (tmp_path / "page.html").read_text() == r"<h1>runs\udcff</h1>"


def test_options_with_control_characters_are_read_as_code(write, runs, tmp_path):
    folder = write(config={"data_root": "/data/\x1b[2J"})
    assert json.loads((folder / "result.json").read_text())["config"]["data_root"] == "/data/\x1b[2J"
    export(runs, tmp_path / "all.csv")
    assert pd.read_csv(tmp_path / "all.csv")["config.data_root"].tolist() == ["/data/\\x1b[2J"]
