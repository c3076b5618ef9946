import numpy as np
import pandas as pd
import pytest

from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.grouped import all_differences, grouped_bounds
from fedprompt.results.statistics.pairs import differences, paired


def test_the_interval_of_each_group_is_that_of_its_values_alone():
    groups = np.array([1, 0, 1, 1, 0, 0, 2])
    strata = np.array([0, 0, 1, 0, 1, 1, 0])
    values = np.array([1.0, 4, 2, 8, 5, 7, 3])
    low, high = grouped_bounds(values, groups, strata, 4, seed=5)
    for group in (0, 1):
        mine = groups == group
        alone = stats.bootstrap_mean(values[mine], np.random.default_rng(5), strata[mine])
        assert (low[group], high[group]) == pytest.approx((alone.low, alone.high))
    assert np.isnan(low[2:]).all()  # one value, and none
    assert np.isnan(high[2:]).all()


def test_no_values_have_no_interval():
    none = np.zeros(0, dtype=int)
    assert np.isnan(grouped_bounds(np.zeros(0), none, none, 2, seed=0)).all()


def test_all_differences_are_those_that_compare_each_method_with_a_reference(generator):
    rows = [
        (method, setting, seed, generator.normal())
        for method in "abc"
        for setting in ("z", "y")
        for seed in range(6)
        if (method, setting, seed) != ("b", "z", 2) and (method, setting) != ("c", "y")
    ]
    runs = pd.DataFrame(rows, columns=["method", "setting", "seed", "seen.mean"]).assign(status="done")
    found = all_differences(paired(runs, "seen.mean"), np.random.default_rng(0))
    assert list(found) == ["z", "y", "all settings"]
    for second, reference in enumerate("abc"):
        others = differences(runs, "seen.mean", reference, np.random.default_rng(0)).set_index(["setting", "method"])
        for setting, rows in found.items():
            for first, method in enumerate("abc"[:second]):
                pair = list(zip(*np.triu_indices(3, 1), strict=True)).index((first, second))
                mine = [getattr(rows, name)[pair] for name in ("value", "low", "high", "n")]
                theirs = others.loc[(setting, method), ["value", "low", "high", "n"]].tolist()
                assert mine == pytest.approx(theirs, nan_ok=True)
