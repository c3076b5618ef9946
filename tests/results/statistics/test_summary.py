import numpy as np
import pandas as pd
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.summary import finished, over_seeds, ranking, with_intervals


@pytest.fixture
def frame():
    """Method a with six seeds, b with two, and c with four, one of them without a value."""
    values = {"a": [0.1, 0.2, 0.3, 0.4, 0.5, 0.9], "b": [0.2, 0.4], "c": [0.3, 0.6, np.nan, 0.9]}
    rows = [(name, seed, value) for name, found in values.items() for seed, value in enumerate(found)]
    return pd.DataFrame(rows, columns=["method", "seed", "value"]).sort_values("seed", ignore_index=True)


def test_means_of_three_or_more_seeds_have_intervals(frame):
    found = with_intervals(frame, ["method"], "value")
    assert found[["method", "mean", "std", "seeds"]].equals(over_seeds(frame, ["method"], "value"))
    by_method = found.set_index("method")
    assert by_method.loc["c", ["low", "high", "level"]].tolist() == pytest.approx([0.3, 0.9, 0.75])
    assert by_method.loc["b", ["low", "high", "level"]].isna().all()
    assert by_method.loc["a", "level"] == 0.95


def test_an_interval_equals_that_of_the_tables_up_to_the_random_draw(frame):
    values = frame.loc[frame["method"] == "a", "value"]
    alone = stats.bootstrap_mean(values, np.random.default_rng(7))
    found = with_intervals(frame, ["method"], "value").set_index("method").loc["a"]
    assert (found["low"], found["high"]) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_intervals_do_not_depend_on_the_order_of_rows(frame):
    ahead = with_intervals(frame.sort_values(["method", "seed"]), ["method"], "value").set_index("method")
    assert ahead.equals(with_intervals(frame.sort_values(["seed", "method"]), ["method"], "value").set_index("method"))


def test_methods_rank_by_the_mean_over_settings_highest_first_and_by_name_if_equal():
    rows = [("low", "x", 0.1), ("b", "x", 0.5), ("a", "x", 0.5), ("none", "x", np.nan)]
    rows += [("two", "x", 0.9), ("two", "x", 0.9), ("two", "y", 0.3)]  # 0.6 over settings, 0.7 over runs
    rows += [("three", "x", 0.65)]
    assert ranking(pd.DataFrame(rows, columns=["method", "setting", "value"]), "value") == [
        "three", "two", "a", "b", "low", "none",
    ]  # fmt: skip


def test_failed_runs_are_left_out_and_no_finished_run_is_an_error():
    runs = pd.DataFrame({"seed": [0, 1, 2], "status": ["failed", "done", "failed"]})
    assert finished(runs)["seed"].tolist() == [1]
    with pytest.raises(RecordError, match="none of the 2 runs is finished"):
        finished(runs.drop(1))
