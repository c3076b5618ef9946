import io
import json
import math
import shutil
import subprocess

import pandas as pd
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.tables.leaderboard import by_family, difference_table, leaderboard, render, with_prior

LOW, HIGH = "digits dirichlet(0.05)", "digits dirichlet(0.5)"


@pytest.fixture
def board(write, runs):
    """Two methods in both settings, one of them without held-out clients, and one that failed in one setting only."""
    for seed, seen in enumerate((0.5, 0.6, 0.7)):
        write("fedvpt", 0.05, seed, seen)
    write("fedvpt", 0.5, 0, 0.8)
    write("a_b&50%", 0.05, 0, 0.9, held_out=None)
    write("a_b&50%", 0.05, 1, error="stopped")
    write("a_b&50%", 0.5, 0, 0.7)
    write("zero", 0.05, 0, error="stopped")
    return leaderboard(load(runs))


def test_mean_std_and_seeds_match_a_hand_computation(board):
    row = board[LOW]["seen.mean"].loc["fedvpt"]
    assert row["mean"] == pytest.approx(0.6)
    assert row["std"] == pytest.approx(0.1)  # sqrt((0.01 + 0 + 0.01) / 2)
    assert (row["seeds"], row["failed"]) == (3, 0)
    assert math.isnan(board.loc["fedvpt", (HIGH, "seen.mean", "std")])


def test_methods_are_ordered_by_their_mean_over_settings_not_over_runs(board):
    # fedvpt: (0.6 + 0.8) / 2 = 0.7; a_b: (0.9 + 0.7) / 2 = 0.8; the failed one last.
    assert list(board.index) == ["a_b&50%", "fedvpt", "zero"]


def test_failures_missing_runs_and_metrics_that_do_not_apply_are_distinguished(board):
    assert board.loc["zero", (LOW, "seen.mean", ["seeds", "failed"])].tolist() == [0, 1]
    assert board.loc["zero", (HIGH, "seen.mean", ["seeds", "failed"])].tolist() == [0, 0]
    assert board.loc["a_b&50%", (LOW, "held_out.mean", ["seeds", "failed"])].tolist() == [1, 1]
    words = dict(zip(board.index, [line.split()[1:9] for line in render(board, "text").splitlines()[3:6]], strict=True))
    assert words["zero"] == ["failed"] * 4 + ["-"] * 4
    assert words["a_b&50%"][:4] == ["90.0", "10.0", "n/a", "100.0"]


def test_costs_are_means_over_finished_runs(board):
    assert board.loc["fedvpt", ("per run", "upload_mb", "mean")] == 2.5
    assert board.loc["fedvpt", ("per run", "seconds", "mean")] == 4
    assert math.isnan(board.loc["zero", ("per run", "seconds", "mean")])


def test_text_shows_percent_and_spread_and_no_best_of_three_seeds(board):
    text = render(board, "text")
    assert "60.0 ±10" in text
    assert "90.0 " in text
    assert "*" not in text
    assert "†" not in text


def test_notes_state_the_seeds_the_gaps_and_the_prior_correction(board):
    text = render(board, "text")
    assert "3 seeds; accuracies in percent" in text
    assert f"a_b&50% in {LOW}: 1 (1 failed); fedvpt in {HIGH}: 1" in text.replace(f"; a_b&50% in {HIGH}: 1", "")
    assert "-: not run; failed: every run failed; n/a: does not apply" in text
    assert "+prior: logits + log of the client's class prior, not calibrated (records of version 0.2)" in text


@pytest.mark.parametrize("kind", ["text", "md"])
def test_the_table_of_a_part_of_a_sweep_is_labelled(board, kind):
    board.attrs["seeds"] = "3 of 5 seeds"
    assert "\n3 of 5 seeds; accuracies in percent, mean ±std over seeds" in render(board, kind)


def test_the_prior_correction_is_called_calibrated_where_records_have_a_temperature(write, runs):
    write(temperature=1.5)
    text = render(leaderboard(load(runs), ["prior.seen.mean"]), "text")
    assert "+prior: logits / T + log of the client's class prior; T per run, fitted on training clients' data" in text


def test_notes_explain_only_what_the_table_shows(write, runs):
    write()
    text = render(leaderboard(load(runs), ["seen.mean"]), "text")
    assert text.endswith("1 seed; accuracies in percent\n")


def test_two_settings_of_four_metrics_and_three_seeds_fit_side_by_side_in_100_columns(write, runs):
    for alpha in (0.05, 0.5):
        for seed in range(3):
            write("pep-fedpt:prior", alpha, seed, 0.5 + 0.01 * seed, 0.4 - 0.02 * seed)
    lines = render(leaderboard(load(runs)), "text").splitlines()
    assert lines[0].split() == ["digits", "dirichlet(0.05)", "digits", "dirichlet(0.5)"]
    assert lines[1].split()[1:] == ["mean", "worst", "held-out", "mean+prior"] * 2
    assert max(map(len, lines)) <= 100


def test_settings_that_do_not_fit_follow_below(board):
    lines = render(board, "text", width=60).splitlines()
    assert [line.strip().split("  ")[0] for line in lines if line.startswith("   ")] == [LOW, HIGH, "per run"]
    assert all(len(line) <= 60 for line in lines if "mean+prior" in line or "---" in line)


def test_lower_is_better_for_the_spread_over_clients(write, runs):
    for method, spread in (("a", 0.1), ("b", 0.3)):
        write(method, metrics={"seen": {"mean": 0.5, "std": spread}})
    rows = render(leaderboard(load(runs), ["seen.std"]), "text").splitlines()[3:5]
    assert {row.split()[0]: row.split()[1] for row in rows} == {"a": "10.0", "b": "30.0"}


def test_csv_contains_the_unrounded_numbers(board):
    rows = pd.read_csv(io.StringIO(render(board, "csv"))).set_index(["method", "setting", "metric"])
    assert list(rows.columns) == [
        "mean",
        "std",
        "low",
        "high",
        "p_best",
        "mark",
        "below_majority",
        "climbing",
        "seeds",
        "failed",
    ]
    assert len(rows) == 3 * (2 * 4 + 1 + 2)
    for (setting, metric, statistic), column in board.drop(columns=["mark"], level="statistic").items():
        for method, value in column.items():
            assert rows.loc[(method, setting, metric), statistic] == pytest.approx(value, rel=1e-12, nan_ok=True)


def test_json_contains_numbers_and_null(board):
    rows = {(row["method"], row["setting"], row["metric"]): row for row in json.loads(render(board, "json"))}
    row = rows["fedvpt", LOW, "seen.mean"]
    assert (row["mean"], row["std"]) == (pytest.approx(0.6), pytest.approx(0.1))
    assert (row["seeds"], row["failed"]) == (3, 0)
    assert rows["zero", LOW, "seen.mean"] | {"seeds": 0, "failed": 1, "mean": None} == rows["zero", LOW, "seen.mean"]


def test_latex_is_escaped_and_balanced(board):
    latex = render(board, "latex")
    assert r"a\_b\&50\% & 90.0 & 10.0 & n/a &" in latex
    assert r"60.0 $\pm$10" in latex
    rows = latex[latex.index(r"\midrule") : latex.index(r"\bottomrule")].splitlines()[1:]
    assert [row.replace(r"\&", "").count("&") for row in rows] == [11, 11, 11]
    assert r"\begin{tabular}{l" + "r" * 11 + "}" in latex
    assert r"\multicolumn{4}{c}{" + HIGH + "}" in latex
    assert r"\cmidrule(lr){2-5} \cmidrule(lr){6-9} \cmidrule(lr){10-10} \cmidrule(lr){11-12}" in latex


def test_markdown_rows_have_as_many_columns_as_the_heading(write, runs):
    write("a|b")
    lines = render(leaderboard(load(runs)), "md").splitlines()[:3]
    assert [line.replace(r"\|", "").count("|") for line in lines] == [8, 8, 8]
    assert lines[2].startswith(r"| a\|b | 50.0 |")


@pytest.fixture
def eight(write, runs):
    """Eight seeds of `first`, of `near`, slightly worse on average, and of `far`, worse by 0.3 in every seed."""
    for seed in range(8):
        write("first", 0.05, seed, 0.8, family="global prompts")
        write("near", 0.05, seed, 0.8 + (-1) ** seed * 0.05 - 0.001, family="personal prompts")
        write("far", 0.05, seed, 0.5, family="global prompts")
    return load(runs)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("text", ["80.0†", "79.9†", "50.0 "]),
        ("md", ["80.0† ±", "79.9† ±", "| 50.0 ±"]),
        ("latex", [r"80.0\textsuperscript{\dag{}}", r"79.9\textsuperscript{\dag{}}", "& 50.0 "]),
    ],
)
def test_methods_that_can_be_the_best_are_marked_and_none_is_called_the_best(eight, kind, shown):
    text = render(leaderboard(eight, ["seen.mean"]), kind)
    assert [part for part in shown if part not in text] == []
    assert "among the best, as no method is significantly better" in text
    assert "than every other method" not in text
    assert "all pairs of 3 methods (3 comparisons; max-T" in text


def test_the_star_is_given_to_a_method_that_is_significantly_better_than_every_other(eight):
    board = leaderboard(eight[eight["method"] != "near"], ["seen.mean"])
    assert [board.loc[name, (LOW, "seen.mean", "mark")] for name in ("first", "far")] == ["best", "behind"]
    assert "80.0*" in render(board, "text")
    assert "| first | **80.0** ±" in render(board, "md")
    assert "*: significantly better than every other method" in render(board, "text")


def test_scores_below_majority_are_marked_in_every_format(write, runs):
    for method, seen in (("high", 0.7), ("majority", 0.6), ("low", 0.5)):
        write(method, seen=seen, held_out=0.4)
    board = leaderboard(load(runs), ["seen.mean", "held_out.mean", "seconds"])
    text = render(board, "text")
    assert [line.split()[1:3] for line in text.splitlines()[3:6]] == [
        ["70.0", "40.0"],
        ["60.0", "40.0"],
        ["50.0↓", "40.0"],
    ]
    assert "↓: below majority" in text
    assert "| low | 50.0↓ | 40.0 |" in render(board, "md")
    assert r"50.0\textsuperscript{$\downarrow$}" in render(board, "latex")
    rows = {(row["method"], row["metric"]): row["below_majority"] for row in json.loads(render(board, "json"))}
    assert (rows["low", "seen.mean"], rows["high", "seen.mean"], rows["low", "seconds"]) == (True, False, None)


def climbs(by):
    return {"convergence": {"since_round": 6, "seen_change": by}}


def test_methods_that_still_climb_are_marked_in_the_first_metric_in_every_format(write, runs):
    for seed, change in enumerate((0.01, 0.04)):  # mean 0.025
        write("rising", seed=seed, seen=0.7, **climbs(change))
        write("flat", seed=seed, seen=0.6, **climbs(change - 0.006))  # mean 0.019
    write("older", seen=0.5)
    board = leaderboard(load(runs), ["seen.mean", "held_out.mean"])
    text = render(board, "text")
    assert [line.split()[1] for line in text.splitlines()[3:6]] == ["70.0↗±0.0", "60.0", "50.0"]
    assert text.count("↗") == 2
    assert "↗: still climbing, seen accuracy rose by more than 2 points in the last quarter of the rounds" in text
    assert "| rising | 70.0↗ ±0.0 | 40.0 ±0.0 |" in render(board, "md")
    assert r"70.0\textsuperscript{$\nearrow$}" in render(board, "latex")
    rows = {(row["method"], row["metric"]): row["climbing"] for row in json.loads(render(board, "json"))}
    assert (rows["rising", "seen.mean"], rows["flat", "seen.mean"], rows["rising", "held_out.mean"]) == (
        True,
        False,
        None,
    )


def test_records_that_do_not_measure_convergence_are_not_marked(eight):
    assert "↗" not in render(leaderboard(eight, ["seen.mean"]), "text")


def test_without_majority_nothing_is_below_it(eight):
    assert "↓" not in render(leaderboard(eight, ["seen.mean"]), "text")


def test_if_no_difference_can_be_significant_a_note_says_so_once(board):
    line = "No method can be called the best; untestable with 3 seeds: p is at least 0.25; 6 seeds are needed"
    assert render(board, "text").count(line) == 1


def test_all_settings_show_the_mean_of_methods_that_have_every_setting(board):
    column = board["all settings"]["seen.mean"]["mean"]
    assert column["fedvpt"] == pytest.approx(0.7)
    assert math.isnan(column["zero"])


def test_the_cheapest_comes_first(write, runs):
    write("costly", seconds={"total": 250.0}, communication={"upload_bytes": 5_000_000})
    write("cheap", seconds={"total": 40.0}, communication={"upload_bytes": 7_000})
    text = render(leaderboard(load(runs), ["seconds", "upload_mb"]), "text")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("costly", "cheap"))}
    assert rows == {"cheap": ["40.0", "0.00700"], "costly": ["250", "5.00"]}
    assert [line.split()[0] for line in text.splitlines() if line.startswith(("costly", "cheap"))] == [
        "cheap",
        "costly",
    ]


def test_prior_corrected_logits_have_a_second_row(write, runs):
    write("a", seen=0.5)
    board = leaderboard(with_prior(load(runs)), ["seen.mean", "seconds"])
    assert board["digits dirichlet(0.05)"]["seen.mean"]["mean"].to_dict() == pytest.approx({"a+prior": 0.6, "a": 0.5})
    assert "+prior: logits" in render(board, "text")


def test_rows_are_grouped_by_family_in_order_of_the_best_of_each(eight):
    board = by_family(leaderboard(eight, ["seen.mean"]), eight)
    lines = render(board, "text").splitlines()[3:8]
    assert [line.split()[0] for line in lines] == ["global", "first", "far", "personal", "near"]
    assert "| *personal prompts* |" in render(board, "md")
    assert r"\emph{personal prompts}} \\" in render(board, "latex")
    assert {row["method"]: row["family"] for row in json.loads(render(board, "json"))}["near"] == "personal prompts"


def test_grouping_is_refused_if_no_record_names_a_family(write, runs):
    write()
    frame = load(runs)
    with pytest.raises(RecordError, match="no record names the family"):
        by_family(leaderboard(frame), frame)


def test_differences_to_a_reference_show_sign_interval_and_significance(eight):
    board = difference_table(eight, ["seen.mean"], "first")
    text = render(board, "text")
    assert "-30.0*[-30.0, -30.0]" in text
    assert "-0.1 [" in text
    assert "*: significantly different from first, better or worse" in text
    rows = {row["method"]: row for row in json.loads(render(board, "json"))}
    assert set(rows) == {"near", "far"}
    assert (rows["far"]["verdict"], rows["near"]["verdict"]) == ("worse", "not significant")
    with pytest.raises(RecordError, match="unknown method 'furst': did you mean 'first'"):
        difference_table(eight, ["seen.mean"], "furst")


def test_forty_methods_and_six_settings_stay_within_the_width(write, runs):
    for alpha in (0.01, 0.05, 0.1, 0.5, 1.0, 10.0):
        for method in range(40):
            write(f"method-{method:02d}", alpha, 0, 0.01 * method)
    lines = render(leaderboard(load(runs)), "text").splitlines()
    assert max(len(line) for line in lines if "±" not in line) <= 100
    assert sum(line.startswith("method-39") for line in lines) == 4  # two settings side by side, then means and costs


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed: the table is not compiled")
def test_the_latex_table_compiles(board, tmp_path):
    source = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}" + render(board, "latex")
    (tmp_path / "table.tex").write_text(source + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_an_unknown_metric_or_format_gets_a_suggestion(write, runs):
    write()
    frame = load(runs)
    with pytest.raises(RecordError, match=r"unknown metric 'Seen.Mean': did you mean 'seen.mean'\?"):
        leaderboard(frame, ["Seen.Mean"])
    with pytest.raises(RecordError, match=r"unknown metric 'seen.men': did you mean 'seen.mean'\?"):
        leaderboard(frame, ["seen.men"])
    with pytest.raises(RecordError, match=r"unknown format 'latx': did you mean 'latex'\?"):
        render(leaderboard(frame), "latx")


def test_a_table_of_failures_only_can_be_shown(write, runs):
    write("a", error="stopped")
    assert "failed" in render(leaderboard(load(runs)), "text")


@pytest.mark.parametrize("kind", ["text", "md", "latex"])
def test_printed_tables_are_the_same_without_intervals(kind, board, runs):
    faster = leaderboard(load(runs), intervals=False)
    assert render(faster, kind) == render(board, kind)
    low = faster.xs("low", axis=1, level="statistic")
    assert low.isna().all(axis=None)
    assert not board.xs("low", axis=1, level="statistic").isna().all(axis=None)
