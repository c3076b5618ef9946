import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprompt.data.errors import DataError
from fedprompt.data.partitions.assignment import Labels
from fedprompt.data.partitions.labels import dirichlet_priors, split_classes
from fedprompt.data.partitions.settings import PartitionSettings
from tests.data.toy import balanced, toy


def assign(dataset, seed=0, **given):
    asked = PartitionSettings(**given)
    return asked.assign(dataset, np.random.default_rng(seed))


def counts(labels, positions, classes):
    return np.array([np.bincount(labels[own], minlength=classes) for own in positions])


@given(st.integers(0, 2**32 - 1), st.floats(-6, 6), st.integers(1, 20))
@settings(max_examples=20)
def test_priors_are_shares_at_any_alpha(seed, power, classes):
    priors = dirichlet_priors(10**power, 50, classes, np.random.default_rng(seed))
    assert (priors >= 0).all()
    np.testing.assert_allclose(priors.sum(axis=1), 1)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 100])
def test_priors_have_the_moments_of_the_dirichlet_distribution(alpha):
    priors = dirichlet_priors(alpha, 40_000, 4, np.random.default_rng(0))
    variance = (1 / 4) * (3 / 4) / (4 * alpha + 1)
    np.testing.assert_allclose(priors.mean(axis=0), 1 / 4, atol=5 * (variance / 40_000) ** 0.5)
    np.testing.assert_allclose(priors.var(axis=0), variance, rtol=0.05)


def test_small_alpha_gives_a_client_one_class_and_large_alpha_all():
    def largest(alpha):
        return float(dirichlet_priors(alpha, 1000, 10, np.random.default_rng(0)).max(axis=1).mean())

    assert largest(0.01) > 0.9
    assert largest(100) < 0.2


def test_actual_shares_are_close_to_the_targets_with_many_clients_and_samples():
    # With many clients the priors add up to nearly the stock, so that little has to bend.
    dataset = balanced(80_000, 4_000, 4)
    dealt = assign(dataset, alpha=1.0, clients=400)
    got = counts(dataset.train_y, dealt.train, 4) / 200
    assert np.abs(got - dealt.target_shares).sum(axis=1).mean() / 2 < 0.05


def test_lognormal_sizes_have_the_deviation_asked_for():
    dataset = balanced(400_000, 2_000, 2)
    sizes = np.array([len(own) for own in assign(dataset, sizes="lognormal", size_sigma=0.7, clients=2000).train])
    assert sizes.sum() == 400_000
    assert sizes.min() >= 1
    assert abs(np.log(sizes).std() - 0.7) < 0.05  # four standard errors of a deviation from 2,000 draws


def test_a_class_is_split_by_its_column_in_both_parts():
    # Class 0: 10 training samples as 0.6 and 0.4; class 1: 5 as 0.2 and 0.8. Tests, 5 and 10, are split alike.
    labels = Labels(np.repeat([0, 1], [10, 5]), np.repeat([0, 1], [5, 10]))
    shares = np.array([[0.6, 0.2], [0.4, 0.8]])
    dealt = split_classes(labels, shares, np.zeros((2, 2), np.int64), np.random.default_rng(0))
    assert counts(labels.train_y, dealt.train, 2).tolist() == [[6, 1], [4, 4]]
    assert counts(labels.test_y, dealt.test, 2).tolist() == [[3, 2], [2, 8]]
    np.testing.assert_allclose(dealt.target_shares, [[6 / 7, 1 / 7], [1 / 2, 1 / 2]])


def test_an_empty_client_gets_one_sample_of_the_largest():
    # Client 0 gets 4 of class 0 and 2 of class 1, client 1 one of class 1, client 2 nothing: one of class 0 moves.
    labels = Labels(np.repeat([0, 1], [4, 3]), np.array([0, 0, 0, 0]))
    shares = np.array([[1, 2 / 3], [0, 1 / 3], [0, 0]])
    dealt = split_classes(labels, shares, np.zeros((3, 2), np.int64), np.random.default_rng(0))
    assert counts(labels.train_y, dealt.train, 2).tolist() == [[3, 2], [0, 1], [1, 0]]
    assert counts(labels.test_y, dealt.test, 2).tolist() == [[3, 0], [0, 0], [1, 0]]


@given(st.integers(0, 1000), st.floats(-2, 2), st.integers(2, 30), st.integers(1, 6))
@settings(max_examples=20)
def test_no_client_is_tested_on_a_class_that_it_does_not_train_on(seed, power, clients, classes):
    dataset = balanced(40 * classes, 30 * classes, classes)
    for asked in ({"kind": "dirichlet-class", "alpha": 10**power}, {"kind": "pathological", "classes_per_client": 1}):
        dealt = assign(dataset, seed, clients=clients, **asked)
        trained, tested = counts(dataset.train_y, dealt.train, classes), counts(dataset.test_y, dealt.test, classes)
        assert not tested[trained == 0].any()
        assert tested.sum(axis=0).tolist() == [30 if own else 0 for own in trained.sum(axis=0)]


def test_class_splits_follow_the_dirichlet_distribution_of_one_class_over_clients():
    # Of Dir(alpha 1_K) one client's share of a class has mean 1/K and variance (1/K)(1 - 1/K) / (alpha K + 1).
    dataset = balanced(2000 * 500, 500, 500)
    shares = counts(dataset.train_y, assign(dataset, kind="dirichlet-class", alpha=0.5, clients=4).train, 500) / 2000
    variance = (1 / 4) * (3 / 4) / (4 * 0.5 + 1)
    np.testing.assert_allclose(shares.mean(axis=1), 1 / 4, atol=5 * (variance / 500) ** 0.5)
    np.testing.assert_allclose(shares.var(), variance, rtol=0.1)


@given(st.integers(0, 1000), st.integers(2, 40), st.integers(1, 12), st.data())
@settings(max_examples=30)
def test_a_pathological_client_owns_exactly_its_classes_and_all_classes_are_as_often_owned(
    seed, clients, classes, data
):
    own = data.draw(st.integers(1, classes))
    dataset = balanced(60 * classes, 20 * classes, classes)
    dealt = assign(dataset, seed, kind="pathological", classes_per_client=own, clients=clients)
    held = counts(dataset.train_y, dealt.train, classes)
    assert (np.count_nonzero(held, axis=1) == own).all()
    owners = np.count_nonzero(held, axis=0)
    assert owners.max() - owners.min() <= 1
    assert held.sum(axis=0)[owners > 0].tolist() == [60] * np.count_nonzero(owners)


def test_two_owners_share_a_class_between_four_and_six_tenths_in_both_parts():
    # One class and two clients: draws a, b of U(0.4, 0.6) give a/(a+b), which lies in 0.4 to 0.6.
    dataset = toy([0] * 1000 + [1] * 1000, [0] * 100 + [1] * 100, 2)
    shares = []
    for seed in range(30):
        dealt = assign(dataset, seed, kind="pathological", classes_per_client=2, clients=2, held_out=0)
        trained, tested = counts(dataset.train_y, dealt.train, 2), counts(dataset.test_y, dealt.test, 2)
        assert np.abs(trained / 10 - tested).max() <= 0.5
        shares += (trained[0] / 1000).tolist()
    assert 0.4 <= min(shares) < 0.44
    assert 0.56 < max(shares) <= 0.6


def test_classes_without_samples_are_assigned_to_no_client():
    dataset = toy([0] * 20 + [2] * 20, [0, 1, 2], 3)
    held = counts(dataset.train_y, assign(dataset, kind="pathological", clients=4).train, 3)
    assert (held > 0).tolist() == [[True, False, True]] * 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"classes_per_client": 5}, "--classes-per-client 5 is too large: toy has training samples of 4 classes"),
        ({"classes_per_client": 4, "clients": 11}, "class 'class 0' has 10 training samples for 11 clients: lower"),
        ({"kind": "dirichlet-class", "clients": 41}, "41 clients but only 40 training samples: at most 40 clients"),
    ],
)
def test_settings_that_the_classes_cannot_meet_are_refused_with_the_limit(asked, message):
    with pytest.raises(DataError, match=re.escape(message)):
        assign(balanced(40, 20, 4), **{"kind": "pathological", **asked})
