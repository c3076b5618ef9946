import pandas as pd

from fedprompt.results.records.frames import load
from fedprompt.results.tables.exclusions import exclusions
from fedprompt.results.tables.leaderboard import leaderboard, render


def runs_of(*rows):
    return pd.DataFrame(rows, columns=["method", "setting", "seen.clients", "seen.too_few", "unscored_seen"])


def test_means_over_runs_of_what_is_left_out_are_stated_per_setting_and_method():
    runs = runs_of(
        ("local", "a", 14, 3, 2), ("local", "a", 15, 3, 1), ("fedvpt", "a", 16, 3, 0), ("fedvpt", "b", 16, 0, 0)
    )
    assert exclusions(runs, ["seen.mean", "seen.worst"]) == [
        "worst leaves out clients with fewer test samples than --min-test: 3 of 15 seen clients (a)",
        "No score, since they never trained: 1.5 of 16 seen clients (local, a)",
    ]


def test_a_table_without_the_worst_client_says_nothing_about_small_clients():
    assert exclusions(runs_of(("fedvpt", "a", 16, 3, 0)), ["seen.mean"]) == []


def test_nothing_is_said_where_every_client_counts_or_records_do_not_know():
    assert exclusions(runs_of(("fedvpt", "a", 16, 0, 0)), ["seen.worst"]) == []
    assert exclusions(runs_of(("fedvpt", "a", 16, 0, 0))[["method", "setting"]], ["seen.worst"]) == []


def test_a_table_has_the_lines_as_footnotes(write, runs):
    write("local", unscored={"seen": 2, "held_out": 1})
    assert "No score, since they never trained: 2 of " in render(leaderboard(load(runs), ["seen.mean"]), "text")
