import csv
import io
import json

import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.tables.leaderboard import by_family, difference_table, leaderboard, render

NUMBERS = {
    "hash": "0a",
    "unused": [3, 0],
    "concentration": 0.15,
    "drift": 0.25,
    "test_drift": 0.05,
    "majority_share": 0.6,
    "classes_per_client": 4.5,
    "untrained_tests": 0.02,
}
LINE = (
    "Realised in digits dirichlet(0.05): concentration 0.15, drift 0.25, test drift 0.05, majority share 60%, "
    "4.5 classes per client, 2.0% of test samples in untrained classes"
)
FORMATS = ("text", "md", "latex")


@pytest.mark.parametrize("fmt", FORMATS)
def test_every_setting_has_one_footnote(write, runs, fmt):
    for seed in (0, 1):
        write("fedvpt", 0.05, seed, federation=NUMBERS)
        write("head", 0.05, seed, federation=NUMBERS)
        write("fedvpt", 5.0, seed, federation=NUMBERS | {"concentration": None})
    board, frame = leaderboard(load(runs)), load(runs)
    for table in (board, by_family(leaderboard(frame.assign(family="one")), frame.assign(family="one"))):
        text = render(table, fmt).replace("\\%", "%")
        assert text.count(LINE) == text.count("Realised in digits dirichlet(5): drift 0.25") == 1
    assert render(difference_table(frame, ["seen.mean"], "head"), fmt).replace("\\%", "%").count(LINE) == 1


def test_numbers_are_means_over_seeds_and_not_over_runs(write, runs):
    # Seed 0 has two runs, one of which trains nothing; means over seeds are (0.2 + 0.4) / 2 and (0.1 + 0.3) / 2.
    write("fedvpt", 0.05, 0, federation=NUMBERS | {"drift": 0.2, "never_sampled_tests": 0.1})
    write("majority", 0.05, 0, federation=NUMBERS | {"drift": 0.2, "never_sampled_tests": None})
    write("fedvpt", 0.05, 1, federation=NUMBERS | {"drift": 0.4, "never_sampled_tests": 0.3})
    write("fedvpt", 0.05, 2, error="stopped")
    text = render(leaderboard(load(runs)), "text")
    assert ", drift 0.30, " in text
    assert "2.0% of test samples in untrained classes, 20.0% at clients never sampled" in text


def test_csv_and_json_contain_the_numbers_of_each_rows_setting(write, runs):
    write("fedvpt", 0.05, federation=NUMBERS)
    write("fedvpt", 5.0)
    board = leaderboard(load(runs), ["seen.mean"])
    expected = {"digits dirichlet(0.05)": 0.15, "digits dirichlet(5)": None, "all settings": None, "per run": None}
    rows = json.loads(render(board, "json"))
    assert {row["setting"]: row["federation_concentration"] for row in rows} == expected
    cells = {row["setting"]: row["federation_drift"] for row in csv.DictReader(io.StringIO(render(board, "csv")))}
    assert cells == dict.fromkeys(expected, "") | {"digits dirichlet(0.05)": "0.25"}


def test_records_without_a_federation_have_neither_a_footnote_nor_columns(write, runs):
    write("fedvpt")
    write("head", federation={"hash": "0a", "unused": [0, 0]})
    frame = load(runs)
    older = frame.drop(columns=[name for name in frame if name.startswith("federation_")])  # an older export
    for runs_read in (frame, older):
        assert "Realised" not in render(leaderboard(runs_read), "text")
        assert "federation" not in render(leaderboard(runs_read), "csv")


def test_a_record_whose_federation_is_not_numeric_is_refused(write, runs):
    write("fedvpt", federation=NUMBERS | {"drift": "0.2"})
    with pytest.raises(RecordError, match="contains something other than numbers in federation"):
        load(runs)
