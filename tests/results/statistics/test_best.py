import numpy as np
import pandas as pd
import pytest

from fedprompt.results.statistics.best import all_pairs, comparisons, marks
from fedprompt.results.statistics.pairs import ALL_SETTINGS
from tests.results.statistics.null_tables import all_pairs_mark_something, null_table, rates


def table(seeds=6, settings=("x",), **columns):
    """The same scores in each setting, each with small changes by seed that keep the order."""
    index = pd.MultiIndex.from_product([settings, range(seeds)], names=["setting", "seed"])
    scores = {name: value + 0.001 * index.get_level_values("seed") for name, value in columns.items()}
    return pd.DataFrame(scores, index).rename_axis(columns="method")


def marked(frame, generator, lower=False, setting="x"):
    return marks(frame, lower, generator).loc[setting, "mark"].to_dict()


def test_a_method_ahead_of_all_others_in_every_seed_is_the_best(generator):
    frame = table(a=0.9, b=0.5, c=0.1)
    assert marked(frame, generator) == {"a": "best", "b": "behind", "c": "behind"}
    assert marked(frame, generator, lower=True) == {"a": "behind", "b": "behind", "c": "best"}
    assert marks(frame, False, generator).loc["x", "p_best"].tolist() == pytest.approx(
        [np.nan, 2 / 2**6, 2 / 2**6], nan_ok=True
    )


def test_two_methods_that_share_the_lead_are_among_the_best_and_neither_is_the_best(generator):
    frame = table(a=0.9, b=0.9, c=0.1)
    frame["b"] += [0.01, -0.02, 0.03, -0.03, 0.02, -0.01]
    assert marked(frame, generator) == {"a": "among the best", "b": "among the best", "c": "behind"}


def test_five_seeds_call_nothing_the_best(generator):
    assert set(marked(table(seeds=5, a=0.9, b=0.1), generator).values()) == {"among the best"}


def test_a_method_without_a_value_takes_no_part_and_one_with_few_seeds_is_not_beaten(generator):
    frame = table(a=0.9, b=0.1).assign(none=np.nan)
    assert marked(frame, generator) == {"a": "best", "b": "behind"}
    frame["few"] = [0.2, 0.2, 0.2, np.nan, np.nan, np.nan]
    assert marked(frame, generator) == {"a": "among the best", "b": "behind", "few": "among the best"}


def test_all_settings_compare_the_methods_with_a_value_in_each(generator):
    frame = table(settings=("x", "y"), a=0.5, b=0.1, top=0.9)
    frame.loc["y", "top"] = np.nan
    assert marked(frame, generator, setting=ALL_SETTINGS) == {"a": "best", "b": "behind"}
    assert marked(frame, generator) == {"a": "behind", "b": "behind", "top": "best"}


def test_all_pairs_hold_each_pair_once_per_setting_and_once_in_the_mean(generator):
    rows = all_pairs(table(settings=("x", "y"), a=0.5, b=0.2, c=0.1), generator)
    assert len(rows) == comparisons(3, 2) == 9
    assert comparisons(3, 1) == 3
    found = rows.set_index(["setting", "method", "other"])["value"]
    assert found[ALL_SETTINGS, "a", "b"] == pytest.approx(0.3)


@pytest.mark.parametrize("size", [(3, 6, 1), (6, 6, 1), (7, 6, 2)])
def test_tables_of_equal_methods_mark_something_in_at_most_5_percent(size):
    assert rates(*size, tables=60)["all pairs, max-T"] <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


def test_something_is_marked_exactly_if_some_pair_is_significant(generator):
    found = set()
    for effect in [0, 8] * 8:
        frame = null_table(6, 6, 1, generator)
        frame["m0"] += effect
        any_behind = (marks(frame, False, generator)["mark"] == "behind").any()
        assert all_pairs_mark_something(frame, generator) == any_behind
        found.add(bool(any_behind))
    assert found == {False, True}
