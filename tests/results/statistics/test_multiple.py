import tracemalloc
from itertools import product

import numpy as np
import pytest

from fedprompt.results.statistics import multiple
from fedprompt.results.statistics.inference import sign_flip
from fedprompt.results.statistics.multiple import max_t


def by_hand(gaps):
    """Algorithm 4.1 of Westfall and Young over all sign flips, with a moderated t, one comparison at a time."""
    units, quartile = len(gaps), np.quantile(np.linalg.norm(gaps, axis=0), 0.25)

    def statistic(values):
        return abs(values.sum()) / (np.linalg.norm(values) + quartile)

    observed = [statistic(column) for column in gaps.T]
    order, p = np.argsort(observed)[::-1], np.zeros(gaps.shape[1])
    for place, column in enumerate(order):
        left = order[place:]
        flips = [np.array(signs)[:, None] * gaps for signs in product((1, -1), repeat=units)]
        reached = [max(statistic(flip[:, j]) for j in left) >= observed[column] - 1e-9 for flip in flips]
        p[column] = max(np.mean(reached), p[order[place - 1]] if place else 0)
    return p


def test_adjusted_p_agree_with_the_algorithm_written_out(generator):
    for units in (4, 6):
        gaps = generator.normal([0, 0.5, 2, 0.2], [1, 1, 1, 5], (units, 4))
        assert max_t(gaps, generator) == pytest.approx(by_hand(gaps))


def test_a_single_comparison_has_the_p_of_its_sign_flips(generator):
    gaps = generator.normal(0.5, 1, (8, 1))
    assert max_t(gaps, generator)[0] == pytest.approx(sign_flip(gaps[:, 0]))


def test_consistent_differences_keep_the_smallest_p_in_a_family_of_any_size(generator):
    # 31 comparisons of six seeds: Holm gives 31 * 2 / 2^6 = 0.97 to each of them.
    gaps = generator.uniform(0.9, 1, (6, 31))
    assert max_t(gaps, generator).tolist() == [2 / 2**6] * 31


def test_every_unit_flips_in_all_comparisons_together(generator):
    column = generator.normal(0.5, 1, 7)
    # A copy adds nothing to the family; with signs of its own it would.
    assert max_t(np.stack([column, column, 3 * column], axis=1), generator) == pytest.approx([sign_flip(column)] * 3)


def test_missing_units_and_comparisons_do_not_count(generator):
    column = np.array([0.3, 0.1, 0.2, np.nan, np.nan, np.nan])
    full, missing = np.arange(1.0, 7.0), np.full(6, np.nan)
    found = max_t(np.stack([column, full, missing, np.zeros(6)], axis=1), generator)
    assert found[0] >= 2 / 2**3
    assert found[1] == 2 / 2**6
    assert np.isnan(found[2])
    assert found[3] == 1
    assert np.isnan(max_t(np.full((3, 2), np.nan), generator)).all()


def test_drawn_flips_agree_with_enumerated_ones_and_never_give_0(generator, monkeypatch):
    gaps = generator.normal([0.6, 0.3, 3], 1, (10, 3))
    exact = max_t(gaps, generator)
    monkeypatch.setattr(multiple, "ENUMERATED", 5)
    drawn = max_t(gaps, generator)
    assert drawn == pytest.approx(exact, abs=0.02)
    assert drawn.min() >= 1 / (multiple.FLIPS + 1)


def test_large_families_are_tested_in_parts_with_the_same_result(generator, monkeypatch):
    gaps = generator.normal(size=(9, 40))
    whole = max_t(gaps, generator)
    monkeypatch.setattr(multiple, "CHUNK", 500)
    assert max_t(gaps, generator).tolist() == whole.tolist()


def test_families_without_an_effect_have_a_false_positive_in_5_percent_of_draws(generator):
    families = generator.normal(size=(1_000, 8, 1)) + generator.normal(size=(1_000, 8, 6))
    rate = np.mean([max_t(gaps, generator).min() <= 0.05 for gaps in families])
    assert rate == pytest.approx(6 / 128, abs=3 * (0.05 * 0.95 / 1_000) ** 0.5)  # 128 distinct flips: p <= 6 / 128


def test_drawn_flips_need_little_memory_and_are_those_of_a_single_draw(generator, monkeypatch):
    gaps = generator.normal(0.1, 1, (300, 2))
    monkeypatch.setattr(multiple, "CHUNK", 10**9)
    whole = max_t(gaps, np.random.default_rng(0))
    monkeypatch.undo()
    tracemalloc.start()
    assert max_t(gaps, np.random.default_rng(0)).tolist() == whole.tolist()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * multiple.FLIPS * len(gaps) * 8  # a draw of all needs three such arrays
