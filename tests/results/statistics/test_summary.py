import numpy as np
import pandas as pd
import pytest

from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.summary import over_seeds, with_intervals


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
