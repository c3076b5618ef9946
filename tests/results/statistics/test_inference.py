import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.stats

from fedprompt.results.statistics import inference as stats

NULLS = 1_000
# Three standard errors of a rate of 5 % over 1,000 draws.
SAMPLING = 3 * (0.05 * 0.95 / NULLS) ** 0.5


@pytest.fixture
def generator():
    return np.random.default_rng(7)


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(stats, "DRAWS", 1_000)


def test_the_smallest_p_of_n_pairs_is_2_over_2_to_the_n():
    assert [stats.least_p(n) for n in (0, 1, 2, 3, 6)] == [1, 1, 0.5, 0.25, 0.03125]
    assert stats.pairs_needed() == 6  # 2/64 < 5 %, 2/32 is not


def test_sign_flips_of_few_pairs_are_counted_exactly():
    assert stats.sign_flip([0.1, 0.2, 0.3]) == 0.25  # +++ and ---
    # Of the sums of +-1 +-2 +-4 four are 5 or more in size: 7, 5 and their mirrors; observed: 5.
    assert stats.sign_flip([-1, 2, 4]) == 0.5
    assert stats.sign_flip([]) == 1
    assert stats.sign_flip([0, 0, 0]) == 1


@pytest.mark.parametrize("count", [5, 9])
def test_sign_flips_agree_with_scipys_permutation_test(generator, count):
    for differences in generator.normal(0.4, 1, (5, count)):
        expected = scipy.stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=2**count, rng=generator
        )
        assert stats.sign_flip(differences) == pytest.approx(expected.pvalue)


def test_sign_flips_of_many_pairs_agree_with_enumeration_and_with_draws(generator, monkeypatch):
    monkeypatch.setattr(stats, "ENUMERATED", 0)
    for count, draws in ((12, 2**12), (40, 200_000)):
        differences = generator.normal(0.3, 1, count)
        expected = scipy.stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=draws, rng=generator, batch=10_000
        )
        # Rounding only increases p; two samples of 200,000 flips differ by at most 0.003.
        assert -0.003 <= stats.sign_flip(differences) - expected.pvalue <= 0.01


def test_sign_flips_of_many_pairs_have_no_smallest_p():
    # Only the two flips that keep all signs alike reach the observed sum.
    assert stats.sign_flip(np.ones(40)) == pytest.approx(2.0**-39)
    assert stats.sign_flip(np.zeros(40)) == 1


def test_sums_that_differ_by_rounding_only_are_ties():
    # In floating point 0.1 + 0.2 - 0.3 differs from 0.3 - 0.1 - 0.2: both are 0, and every flip reaches that.
    assert stats.sign_flip([0.1, 0.2, -0.3]) == 1


def test_the_bootstrap_interval_of_many_values_is_students(generator):
    values = generator.normal(5, 2, 200)
    found = stats.bootstrap_mean(values, generator)
    student = scipy.stats.t.interval(0.95, 199, values.mean(), scipy.stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(student, abs=0.03)
    assert (found.n, found.level) == (200, 0.95)


def test_the_bootstrap_interval_of_three_values_is_their_range_and_states_its_coverage(generator):
    found = stats.bootstrap_mean([0.5, 0.9, 0.6], generator)
    assert found == (pytest.approx(2 / 3), pytest.approx(0.5), pytest.approx(0.9), 3, 0.75)


def test_one_value_has_no_interval_and_none_has_no_mean(generator):
    one, none = stats.bootstrap_mean([0.5], generator), stats.bootstrap_mean([], generator)
    assert one == (0.5, pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True), 1, 0)
    assert np.isnan(none.value)
    assert none.n == 0


def test_all_settings_have_equal_weight_whatever_their_number_of_seeds(generator):
    found = stats.bootstrap_mean([1, 1, 1, 5], generator, ["a", "a", "a", "b"])
    assert found.value == pytest.approx(3)
    # All values within a setting are equal, so all resamples are equal.
    assert (found.low, found.high) == pytest.approx((3, 3))


def test_settings_far_apart_do_not_widen_the_interval(generator):
    noise = generator.normal(0, 1, 20)
    settings = np.repeat([0, 1], 10)
    near, far = (stats.bootstrap_mean(noise + gap * settings, np.random.default_rng(1), settings) for gap in (0, 100))
    assert far.high - far.low == pytest.approx(near.high - near.low)


def test_the_interquartile_mean_drops_the_outer_quarters(generator):
    found = stats.interquartile_mean([0, 1, 2, 3, 4, 5, 6, 1000], ["a"] * 8, generator)
    assert found.value == 3.5  # of 2, 3, 4, 5


def test_the_interquartile_interval_agrees_with_scipys_bootstrap_for_many_values(generator):
    values = generator.normal(0, 1, 300)
    expected = scipy.stats.bootstrap(
        (values,), lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis), method="percentile", rng=generator
    ).confidence_interval
    found = stats.interquartile_mean(values, np.zeros(300), generator)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_the_probability_of_improvement_counts_ties_as_half():
    found = stats.probability_of_improvement([1, 2, 3, 4], [0, 2, 5, 0])
    assert found.value == 2.5 / 4
    assert np.isnan(stats.probability_of_improvement([], []).value)


@pytest.mark.parametrize("wins", [0, 3, 8])
def test_the_interval_of_the_probability_of_improvement_is_the_exact_binomial_one(wins):
    expected = scipy.stats.binomtest(wins, 8).proportion_ci(0.95, "exact")
    found = stats.probability_of_improvement([1] * wins + [-1] * (8 - wins), [0] * 8)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("count", [6, 10, 20])
def test_sign_flips_have_5_percent_false_positives_without_an_effect(generator, few_resamples, count):
    rate = np.mean([stats.sign_flip(x) <= 0.05 for x in generator.laplace(size=(NULLS, count))])
    # With few pairs the exact test has fewer: at most 3 of 64 flips may be rejected, and they come in twos.
    exact = {6: 2 / 64}.get(count, 0.05)
    assert rate == pytest.approx(exact, abs=SAMPLING)


@pytest.mark.parametrize(("settings", "seeds"), [(1, 10), (1, 20), (3, 6), (6, 3)])
def test_bootstrap_intervals_miss_the_mean_in_5_percent_of_draws(generator, few_resamples, settings, seeds):
    strata = np.repeat(np.arange(settings), seeds)
    draws = generator.normal(size=(NULLS, settings * seeds))
    found = [stats.bootstrap_mean(x, generator, strata) for x in draws]
    assert np.mean([not e.low <= 0 <= e.high for e in found]) == pytest.approx(0.05, abs=SAMPLING)


@pytest.mark.parametrize("seeds", [3, 4])
def test_intervals_of_few_seeds_miss_the_mean_as_often_as_their_level_says(generator, few_resamples, seeds):
    found = [stats.bootstrap_mean(x, generator) for x in generator.normal(size=(NULLS, seeds))]
    expected_rate = 2 / 2**seeds  # 25 %, 12.5 %
    assert found[0].level == 1 - expected_rate
    missed = np.mean([not e.low <= 0 <= e.high for e in found])
    assert missed == pytest.approx(expected_rate, abs=3 * (expected_rate * (1 - expected_rate) / NULLS) ** 0.5)


def test_interquartile_intervals_miss_the_mean_in_5_percent_of_draws(generator, few_resamples):
    settings = np.repeat(np.arange(3), 6)
    found = [stats.interquartile_mean(x, settings, generator) for x in generator.normal(size=(NULLS, 18))]
    assert np.mean([not e.low <= 0 <= e.high for e in found]) == pytest.approx(0.05, abs=SAMPLING)


@pytest.mark.parametrize("count", [3, 6, 18])
def test_the_probability_of_improvement_excludes_one_half_in_at_most_5_percent_of_draws(generator, count):
    found = [stats.probability_of_improvement(x, 0 * x) for x in generator.normal(size=(NULLS, count))]
    rate = np.mean([not e.low <= 0.5 <= e.high for e in found])
    # Twice the binomial tail that stays under 2.5 %, by enumeration.
    tails = [sum(scipy.stats.binom.pmf(range(k + 1), count, 0.5)) for k in range(-1, count)]
    exact = 2 * max(tail for tail in [0, *tails] if tail <= 0.025)
    assert rate == pytest.approx(exact, abs=SAMPLING)


def test_the_same_generator_gives_the_same_interval():
    first, second = (stats.bootstrap_mean([1, 2, 4, 8, 9], np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_each_sign_pattern_appears_once():
    assert sorted(map(tuple, stats.all_signs(3))) == sorted(itertools.product((-1.0, 1.0), repeat=3))


def test_intervals_of_many_means_shift_and_scale_with_their_values(generator):
    values = generator.normal(size=6)
    low, high = stats.bootstrap_bounds([np.stack([values, 2 * values + 1])], seed=5)
    assert (low[1], high[1]) == pytest.approx((2 * low[0] + 1, 2 * high[0] + 1))
    assert values.min() < low[0] < values.mean() < high[0] < values.max()


def test_an_interval_needs_less_memory_than_its_draws():
    values, strata = np.arange(1_000.0), np.repeat(np.arange(5), 200)
    tracemalloc.start()
    stats.bootstrap_mean(values, np.random.default_rng(0), strata)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.7 * stats.DRAWS * len(values) * 8
