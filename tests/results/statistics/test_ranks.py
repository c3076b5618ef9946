import numpy as np
import pandas as pd
import pytest
import scipy.stats

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.statistics.ranks import average_ranks, cliques, friedman, rank, wilcoxon


def test_average_ranks_share_ties_and_put_the_best_first():
    scores = pd.DataFrame({"low": [0.1, 0.2], "tie": [0.3, 0.9], "tied": [0.3, 0.1]})
    # First row: 3, 1.5, 1.5; second: 2, 1, 3.
    assert average_ranks(scores).to_dict() == {"tie": 1.25, "tied": 2.25, "low": 2.5}
    assert average_ranks(scores, lower=True).index[0] == "low"


def test_values_that_differ_by_rounding_only_are_ties():
    scores = pd.DataFrame({"a": [0.1 + 0.2], "b": [0.3]})
    assert average_ranks(scores).tolist() == [1.5, 1.5]


def test_friedman_agrees_with_the_chi_squared_form_for_many_settings(generator):
    scores = pd.DataFrame(generator.normal([0, 0, 0.3], 1, (60, 3)))
    assert friedman(scores, generator) == pytest.approx(
        scipy.stats.friedmanchisquare(*scores.to_numpy().T).pvalue, abs=0.03
    )


def test_friedman_of_two_settings_that_agree_is_one_over_the_number_of_orders(generator):
    # For any order of the first row, one of the 3! = 6 orders of the second agrees.
    assert friedman(pd.DataFrame([[1, 2, 3], [1, 2, 3]]), generator) == pytest.approx(1 / 6, abs=0.03)
    assert friedman(pd.DataFrame([[1, 1, 1], [1, 1, 1]]), generator) == 1


def test_friedman_has_5_percent_false_positives_without_an_effect(generator, monkeypatch):
    monkeypatch.setattr("fedprompt.results.statistics.ranks.REORDERINGS", 199)
    draws = generator.normal(size=(1_000, 6, 5))
    rate = np.mean([friedman(pd.DataFrame(scores), generator) <= 0.05 for scores in draws])
    assert rate == pytest.approx(0.05, abs=3 * 0.0069)


def test_pairwise_wilcoxon_of_two_methods_is_scipys_even_with_ties_and_zeros(generator):
    scores = pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [1.0, 1, 2, 2, 3, 7]})
    expected = scipy.stats.wilcoxon(
        scores["a"], scores["b"], zero_method="pratt", method=scipy.stats.PermutationMethod()
    )
    found = wilcoxon(scores, generator)
    assert found.loc["a", "b"] == found.loc["b", "a"] == pytest.approx(expected.pvalue)
    assert found.loc["a", "a"] == 1


def test_pairwise_wilcoxon_has_at_most_5_percent_families_with_a_false_positive(generator):
    draws = generator.normal(size=(1_000, 10, 4))
    positives = [wilcoxon(pd.DataFrame(scores), generator).to_numpy().min() <= 0.05 for scores in draws]
    assert 0 < np.mean(positives) <= 0.05 + 3 * 0.0069


def test_five_settings_give_no_significant_pair_and_six_can(generator):
    scores = pd.DataFrame({"a": range(6), "b": range(3, 9), "c": range(9, 15)}, dtype=float)
    assert wilcoxon(scores[:5], generator).loc["a", "b"] == 2 / 2**5
    assert wilcoxon(scores, generator).loc["a", "b"] == 2 / 2**6


def test_cliques_are_the_largest_groups_without_a_significant_difference():
    names = list("abcd")
    pairwise = pd.DataFrame(1.0, index=names, columns=names)
    for one, other in ("ac", "ad", "bd"):
        pairwise.loc[one, other] = pairwise.loc[other, one] = 0.01
    ranks = pd.Series([1.0, 2, 3, 4], index=names)
    assert cliques(ranks, pairwise) == [["a", "b"], ["b", "c"], ["c", "d"]]
    pairwise.loc["b", "d"] = pairwise.loc["d", "b"] = 1
    assert cliques(ranks, pairwise) == [["a", "b"], ["b", "c", "d"]]


def test_methods_are_ranked_on_means_over_seeds_and_one_without_all_settings_is_left_out(write, runs, generator):
    for alpha in (0.05, 0.5):
        for seed in range(2):
            write("good", alpha, seed, 0.9)
            write("bad", alpha, seed, 0.1 + 0.7 * seed)
    write("hole", 0.05, 0, 0.95)
    found = rank(load(runs), "seen.mean", generator)
    assert found.ranks.to_dict() == {"good": 1, "bad": 2}
    assert (found.left_out, found.settings, found.cliques) == (["hole"], 2, [["good", "bad"]])
    assert rank(load(runs), "seen.mean", generator, by=("setting", "seed")).settings == 4


def test_a_single_method_cannot_be_ranked(write, runs, generator):
    write("only")
    with pytest.raises(RecordError, match=r"seen.mean need two methods with a value in every setting: 1 found"):
        rank(load(runs), "seen.mean", generator)
