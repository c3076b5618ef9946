import pytest
from statsmodels.stats.power import TTestPower  # a dependency of scikit-posthocs

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.statistics.power import detection, power, seeds_needed


def test_the_power_agrees_with_statsmodels():
    for seeds, effect in ((6, 0.5), (12, 1.0), (40, 0.2)):
        assert power(seeds, effect) == pytest.approx(TTestPower().power(effect, seeds, 0.05))


@pytest.mark.parametrize("spread", [0.001, 0.02, 0.03, 0.1, 3.0])
def test_the_seeds_needed_are_the_fewest_with_80_percent_power_and_at_least_6(spread):
    found = seeds_needed(0.03, spread)
    assert power(found, 0.03 / spread) >= 0.8
    assert found == 6 or power(found - 1, 0.03 / spread) < 0.8


def test_equal_methods_need_6_seeds():
    assert seeds_needed(0.03, 0) == 6


def test_the_spread_is_that_of_paired_differences_of_the_median_and_the_worst_pair(write, runs):
    # Differences of two seeds 0.1 and 0.3 have a spread of sqrt(0.02), whatever the seeds share.
    for seed, (a, b, c) in enumerate([(0.5, 0.4, 0.5), (0.9, 0.6, 0.8)]):
        for method, seen in (("a", a), ("b", b), ("c", c)):
            write(method, seed=seed, seen=seen)
    (row,) = detection(load(runs), "seen.mean", 0.05).to_dict("records")
    # a - b: 0.1, 0.3; a - c: 0, 0.1; b - c: -0.1, -0.2.
    assert (row["pairs"], row["spread_worst"]) == (3, pytest.approx(0.02**0.5))
    assert row["spread_median"] == pytest.approx(0.005**0.5)
    assert (row["method"], row["other"]) == ("a", "b")
    assert row["seeds_worst"] == seeds_needed(0.05, 0.02**0.5) > row["seeds_median"]


def test_one_seed_has_no_spread(write, runs):
    write("a")
    write("b")
    with pytest.raises(RecordError, match="no two methods have two finished seeds in common"):
        detection(load(runs), "seen.mean", 0.03)
