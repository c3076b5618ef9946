import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprompt.data.errors import DataError
from fedprompt.data.partitions.assignment import Labels, apportion, assign, draw, feasible_shares, integer_counts
from fedprompt.data.partitions.labels import dirichlet_priors
from tests.data.toy import balanced, toy

seeds = st.integers(0, 2**32 - 1)
alphas = st.floats(-2, 2).map(lambda power: 10**power)


def test_a_used_up_class_is_replaced_by_the_other_classes_of_the_target():
    # Class 0 feeds client 0 at rate 1 and client 1 at 1/2: gone at 1/3. Client 0 wants nothing else and takes what is
    # left, client 1 turns to class 1 alone; both draw it for the remaining 2/3.
    shares = feasible_shares(np.array([[1, 0], [0.5, 0.5]]), np.array([0.5, 1.5]), np.ones(2))
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3], [1 / 6, 5 / 6]])


def test_a_client_whose_target_is_used_up_draws_in_proportion_to_the_stock():
    # Class 0 is gone at 1/2, with 1/2 left of each other class. Client 0 draws both alike, client 1 only class 1: gone
    # at 5/6. Then both draw class 2 for 1/6.
    shares = feasible_shares(np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([0.5, 1, 0.5]), np.ones(2))
    np.testing.assert_allclose(shares, [[1 / 2, 1 / 6, 1 / 3], [0, 5 / 6, 1 / 6]])


def test_a_subnormal_target_share_does_not_overflow():
    with np.errstate(over="raise"):
        shares = feasible_shares(np.array([[1, 1e-320], [1, 1e-320]]), np.array([1.0, 2.0]), np.ones(2))
    np.testing.assert_allclose(shares, [[1 / 2, 1 / 2], [1 / 2, 1 / 2]])


@given(seeds, st.integers(2, 30), st.integers(1, 8), alphas)
def test_with_enough_stock_the_shares_equal_the_targets(seed, clients, classes, alpha):
    wanted = dirichlet_priors(alpha, clients, classes, np.random.default_rng(seed))
    sizes = np.random.default_rng(seed).integers(1, 9, clients)
    np.testing.assert_allclose(feasible_shares(wanted, np.full(classes, sizes.sum()), sizes), wanted, atol=1e-12)


@given(seeds, st.integers(2, 60), st.integers(1, 12), alphas, st.integers(1, 30))
def test_shares_and_counts_respect_row_sums_stock_and_rounding(seed, clients, classes, alpha, size):
    rng = np.random.default_rng(seed)
    wanted = dirichlet_priors(alpha, clients, classes, rng)
    sizes = rng.integers(1, size + 1, clients)
    stock = rng.multinomial(sizes.sum(), rng.dirichlet(np.ones(classes)))
    shares = feasible_shares(wanted, stock, sizes)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(sizes @ shares, stock, rtol=1e-6, atol=1e-9)  # nothing is left over here
    counts = integer_counts(shares, sizes, stock, rng)
    assert (counts.sum(axis=1) == sizes).all()
    assert (counts.sum(axis=0) == stock).all()
    assert np.abs(counts - sizes[:, None] * shares).max() < 1


def test_rounding_gives_each_count_its_share_on_average():
    rng = np.random.default_rng(0)
    shares = np.array([[0.05, 0.15, 0.3, 0.5]])
    counts = sum(integer_counts(shares, np.array([3]), np.full(4, 9), rng) for _ in range(4000)) / 4000
    np.testing.assert_allclose(counts, 3 * shares, atol=0.04)  # five standard errors


def test_integer_counts_are_unchanged():
    shares = np.array([[0.3, 0.7], [0.1, 0.9]])
    counts = integer_counts(shares, np.array([10, 10]), np.array([4, 16]), np.random.default_rng(0))
    assert counts.tolist() == [[3, 7], [1, 9]]


def test_samples_of_each_class_are_drawn_at_random_in_the_given_numbers():
    labels = np.arange(3000) % 3
    counts = np.array([[5, 0, 7], [300, 2, 0]])
    first, second = draw(labels, counts, np.random.default_rng(0))
    assert np.bincount(labels[first], minlength=3).tolist() == [5, 0, 7]
    assert np.bincount(labels[second], minlength=3).tolist() == [300, 2, 0]
    assert not set(first) & set(second)
    assert first.max() > 100  # not the first samples of their class
    assert (np.diff(second) > 0).all()


@given(seeds, st.integers(2, 20), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), alphas)
def test_a_client_is_tested_on_its_training_shares_within_rounding(seed, clients, classes, train, test, alpha):
    rng = np.random.default_rng(seed)
    dataset = balanced(train * classes * clients, test * classes * clients, classes)
    dealt = assign(dataset, dirichlet_priors(alpha, clients, classes, rng), rng)
    for trained, tested in zip(dealt.train, dealt.test, strict=True):
        a, b = (np.bincount(y, minlength=classes) for y in (dataset.train_y[trained], dataset.test_y[tested]))
        assert np.abs(a / a.sum() - b / b.sum()).max() < 1 / a.sum() + 1 / b.sum()


def test_scarce_test_samples_go_one_each_to_random_clients():
    chosen = set()
    for seed in range(20):
        dealt = assign(balanced(50, 3, 2), np.full((10, 2), 0.5), np.random.default_rng(seed))
        assert sorted(map(len, dealt.test)) == [0] * 7 + [1] * 3
        assert sorted(np.concatenate(dealt.test)) == [0, 1, 2]
        chosen |= {client for client, positions in enumerate(dealt.test) if len(positions)}
    assert chosen == set(range(10))


def test_a_class_without_test_samples_is_replaced_in_the_test_split():
    dealt = assign(toy([0, 0, 1, 1], [1, 1], 2), np.eye(2), np.random.default_rng(0))
    assert [positions.tolist() for positions in dealt.train] == [[0, 1], [2, 3]]
    assert sorted(np.concatenate(dealt.test)) == [0, 1]


def test_a_large_client_draws_faster_so_that_all_finish_together():
    # Both want half and half. The client of 3 draws class 0 at rate 1.5, the client of 1 at 0.5: its 1 sample is gone
    # at time 1/2, after which both draw class 1 alone.
    shares = feasible_shares(np.full((2, 2), 0.5), np.array([1, 3]), np.array([3, 1]))
    np.testing.assert_allclose(shares, [[0.25, 0.75], [0.25, 0.75]])


def test_weights_set_the_sizes_of_both_parts():
    dealt = assign(balanced(40, 8, 2), np.full((3, 2), 0.5), np.random.default_rng(0), np.array([1, 1, 2]))
    assert [len(positions) for positions in dealt.train] == [10, 10, 20]
    assert [len(positions) for positions in dealt.test] == [2, 2, 4]


def test_a_total_is_split_by_the_largest_remainders():
    # 7 * (0.5, 0.3, 0.2) = 3.5, 2.1, 1.4: rounded down 3, 2, 1, and the one left goes to the largest remainder.
    zero, rng = np.zeros(3, np.int64), np.random.default_rng(0)
    assert apportion(np.array([5, 3, 2]), 7, rng, zero).tolist() == [4, 2, 1]
    assert apportion(np.array([0, 0, 1]), 7, rng, zero).tolist() == [0, 0, 7]
    assert apportion(np.array([0, 0, 1]), 7, rng, np.array([1, 2, 0])).tolist() == [1, 2, 4]
    assert apportion(np.array([1, 9, 10]), 4, rng, np.ones(3, np.int64)).tolist() == [1, 1, 2]


def test_equal_remainders_are_rounded_up_at_random():
    splits = {tuple(apportion(np.ones(3), 4, np.random.default_rng(s), np.zeros(3, np.int64))) for s in range(30)}
    assert splits == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}


def test_more_clients_than_training_samples_are_refused():
    message = "5000 clients but only 1437 training samples: at most 1437 clients"
    with pytest.raises(DataError, match=re.escape(message)):
        assign(balanced(1437, 360, 10), np.full((5000, 10), 0.1), np.random.default_rng(0))


def test_ten_thousand_clients_with_the_strongest_skew_get_samples():
    rng = np.random.default_rng(0)
    dealt = assign(balanced(60_000, 10_000, 100), dirichlet_priors(0.01, 10_000, 100, rng), rng)
    assert {len(positions) for positions in dealt.train} == {6}
    assert len(set(np.concatenate(dealt.train).tolist())) == 60_000


def test_a_class_of_a_high_number_needs_no_table_of_all_pairs_of_classes():
    """The table of 200,000 by 200,000 classes would have 160 GB."""
    labels = Labels(np.array([0, 1, 2] * 30 + [199_999]), np.array([0, 1, 2]))
    shares = np.zeros((4, 200_000))
    shares[:, [0, 1, 2, 199_999]] = [0.3, 0.3, 0.3, 0.1]
    assignment = assign(labels, shares, np.random.default_rng(0))
    assert [len(rows) for rows in assignment.train] == [22] * 4
