import numpy as np
import pandas as pd
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import clients, load
from fedprompt.results.statistics import pairs

LOW, HIGH = "digits dirichlet(0.05)", "digits dirichlet(0.5)"


@pytest.fixture
def two_settings(write, runs):
    """Six seeds of `good` and `bad` per setting; `good` leads by 0.02, 0.04, ..., with alpha 0.5 by 0.1 more."""
    for alpha, more in ((0.05, 0.0), (0.5, 0.1)):
        for seed in range(6):
            write("bad", alpha, seed, 0.1 + 0.01 * seed**2)
            write("good", alpha, seed, 0.1 + 0.01 * seed**2 + 0.02 * (seed + 1) + more)
    return load(runs)


def test_runs_are_paired_by_setting_and_seed(write, runs, generator):
    for seed, seen in ((0, 0.5), (1, 0.7), (2, 0.9)):
        write("a", 0.05, seed, seen)
    for seed, seen in ((1, 0.6), (2, 0.7), (3, 0.0)):
        write("b", 0.05, seed, seen)
    (row, _) = pairs.differences(load(runs), "seen.mean", "b", generator).to_dict("records")
    assert row["n"] == 2  # seeds 1 and 2: 0.1 and 0.2
    assert row["value"] == pytest.approx(0.15)
    assert (row["p"], row["least"]) == (0.5, 0.5)


def test_all_settings_is_the_mean_over_settings_with_the_pairs_of_all(two_settings, generator):
    found = pairs.differences(two_settings, "seen.mean", "bad", generator).set_index("setting")
    assert found["value"].to_dict() == pytest.approx({LOW: 0.07, HIGH: 0.17, pairs.ALL_SETTINGS: 0.12})
    assert found["n"].to_dict() == {LOW: 6, HIGH: 6, pairs.ALL_SETTINGS: 12}
    # A seed flips in both settings at once: all three p are those of six seeds, and so are the adjusted ones.
    assert found["seeds"].tolist() == [6, 6, 6]
    assert found["p"].tolist() == found["p_adjusted"].tolist() == [2 / 2**6] * 3
    assert found["verdict"].tolist() == ["better"] * 3


def test_the_share_of_each_seed_adds_up_to_the_mean_over_settings():
    index = pd.MultiIndex.from_tuples([("x", 0), ("x", 1), ("y", 0)], names=["setting", "seed"])
    shares = pairs.seed_shares(pd.DataFrame({"a": [0.2, 0.4, 0.5], "b": [0.2, np.nan, np.nan]}, index))
    assert shares["x", "a"].tolist() == pytest.approx([0.1, 0.2])
    # a: 0.3 in x and 0.5 in y; seed 0 gives (0.2 / 2 + 0.5) / 2, seed 1 (0.4 / 2) / 2. b: only in x, with seed 0.
    assert shares[pairs.ALL_SETTINGS, "a"].tolist() == pytest.approx([0.3, 0.1])
    assert shares[pairs.ALL_SETTINGS, "b"].tolist() == pytest.approx([0.2, np.nan], nan_ok=True)


def test_an_interval_does_not_depend_on_the_other_methods(write, runs):
    for seed, values in enumerate(np.random.default_rng(1).random((6, 3))):
        for method, value in zip("abc", values, strict=True):
            write(method, 0.05, seed, value)
    frame = load(runs)
    alone = pairs.differences(frame, "seen.mean", "a", np.random.default_rng(0), ["c"])
    among = pairs.differences(frame, "seen.mean", "a", np.random.default_rng(0))
    columns = ["setting", "value", "low", "high"]
    assert alone[columns].values.tolist() == among.loc[among["method"] == "c", columns].values.tolist()


def test_less_is_better_for_costs_and_spreads(two_settings, generator):
    frame = two_settings.assign(seconds=two_settings["seen.mean"])
    assert pairs.differences(frame, "seconds", "bad", generator)["verdict"].iloc[-1] == "worse"
    assert pairs.lower_is_better("prior.seen.std")
    assert not pairs.lower_is_better("held_out.worst")
    assert pairs.probability_of_improvement(frame, "seconds", "good", "bad").value == 0


def test_methods_without_a_common_seed_are_not_tested(write, runs, generator):
    write("a", seed=0)
    write("b", seed=1)
    row = pairs.differences(load(runs), "seen.mean", "a", generator).iloc[0]
    assert (row["n"], row["verdict"]) == (0, "untestable")
    assert np.isnan(row["p"])


def test_too_few_seeds_are_reported_with_the_number_needed():
    assert pairs.untestable(3) == "untestable with 3 seeds: p is at least 0.25; 6 seeds are needed"
    assert pairs.untestable(5, "setting").endswith("at least 0.062; 6 settings are needed")
    assert pairs.untestable(6) == ""


def test_three_seeds_are_untestable_in_any_number_of_settings(write, runs, generator):
    for alpha in (0.05, 0.5, 5.0):
        for seed in range(3):
            write("a", alpha, seed, 0.9)
            write("b", alpha, seed, 0.1)
    found = pairs.differences(load(runs), "seen.mean", "b", generator)
    assert found["n"].tolist() == [3, 3, 3, 9]
    assert set(found["verdict"]) == {"untestable"}


@pytest.mark.parametrize(
    ("low", "high", "verdict", "expected"),
    [
        (0.011, 0.03, "better", "better"),
        (0.009, 0.03, "better", "undecided"),  # the interval reaches into the margin
        (0.011, 0.03, "not significant", "undecided"),  # adjusted p and verdict never contradict each other
        (-0.03, -0.011, "worse", "worse"),
        (-0.03, -0.009, "worse", "undecided"),
        (-0.009, 0.009, "not significant", "equal"),
        (0.002, 0.009, "better", "equal"),  # significant, but too small to matter
        (-0.009, 0.009, "untestable", "undecided"),
        (np.nan, np.nan, "untestable", "undecided"),
    ],
)
def test_a_difference_is_judged_against_the_margin(low, high, verdict, expected):
    frame = pd.DataFrame({"low": [low], "high": [high], "verdict": [verdict]})
    assert pairs.practical(frame, 0.01)["practical"].tolist() == [expected]
    costs = pd.DataFrame({"low": [-high], "high": [-low], "verdict": [verdict]})
    assert pairs.practical(costs, 0.01, lower=True)["practical"].tolist() == [expected]


def test_without_an_effect_at_most_5_percent_of_difference_tables_have_a_significant_row(generator):
    frame = pd.DataFrame([(s, m) for s in range(10) for m in "rab"], columns=["seed", "method"])
    frame = frame.assign(status="done", setting="c")
    significant = 0
    for values in generator.normal(size=(200, 30)):
        found = pairs.differences(frame.assign(x=values), "x", "r", generator)
        significant += (found.loc[found["setting"] == "c", "verdict"] != "not significant").any()
    assert significant / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_clients_are_compared_within_one_run_and_the_rows_say_so(write, runs, generator):
    folders = {name: [write(name, 0.05, seed) for seed in (0, 1)] for name in ("a", "b")}
    for folder in folders["a"]:
        table = pd.read_parquet(folder / "clients.parquet")
        table.assign(accuracy=table["accuracy"] + 0.125).to_parquet(folder / "clients.parquet")
    found = pairs.per_client(clients(runs), "a", "b", generator)
    assert found["unit"].tolist() == ["client", "client"]
    assert found["seed"].tolist() == [0, 1]
    # Of four clients, one is held out and one has no test images.
    assert found["n"].tolist() == [2, 2]
    assert found["value"].tolist() == pytest.approx([0.125, 0.125])
    with pytest.raises(RecordError, match="unknown method 'c'"):
        pairs.per_client(clients(runs), "c", "b", generator)


def test_interquartile_means_come_highest_first(two_settings, generator):
    found = pairs.interquartile_means(two_settings, "seen.mean", generator)
    assert found["method"].tolist() == ["good", "bad"]
    # `bad`: 0.10 0.11 0.14 0.19 0.26 0.35 in both settings; the middle six: 0.11 0.14 0.14 0.19 0.19 0.26.
    assert found["value"].iloc[1] == pytest.approx(1.03 / 6)
    assert found["settings"].tolist() == [2, 2]


def test_an_unknown_reference_or_metric_gets_a_suggestion(two_settings, generator):
    with pytest.raises(RecordError, match=r"unknown method 'goood': did you mean 'good'\?"):
        pairs.differences(two_settings, "seen.mean", "goood", generator)
    with pytest.raises(RecordError, match=r"unknown metric 'seen.men': did you mean 'seen.mean'\?"):
        pairs.paired(two_settings, "seen.men")


def test_the_difference_of_two_methods_over_all_settings_is_the_last_row_of_all_differences(generator):
    rows = [
        (method, setting, seed, generator.normal())
        for method in "ab"
        for setting in ("y", "x")
        for seed in range(7)
        if (method, setting, seed) != ("b", "x", 6)
    ]
    runs = pd.DataFrame(rows, columns=["method", "setting", "seed", "seen.mean"]).assign(status="done")
    expected = pairs.differences(runs, "seen.mean", "b", np.random.default_rng(3)).iloc[-1]
    found = pairs.overall_difference(pairs.paired(runs, "seen.mean"), "a", "b", np.random.default_rng(3))
    assert found == expected[list(found)].to_dict()
