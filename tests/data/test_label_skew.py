import numpy as np
import pytest

from fedprompt.data.label_skew import LabelSkew, label_skew


def skew(counts, test_counts=None, seen=None, drift=0.0):
    """The label skew of clients; by default all are seen and tested like they are trained."""
    counts = np.array(counts)
    tests = counts if test_counts is None else np.array(test_counts)
    return label_skew(counts, tests, np.arange(len(counts)) if seen is None else np.array(seen), drift)


def test_every_number_matches_a_hand_computation():
    # Shares (1, 0) and (1/2, 1/2): the sums of squares are 1 and 1/2, so alpha = (1 - 3/4) / (2 * 3/4 - 1) = 1/2.
    # Tests (1/4, 3/4) are 3/4 away from (1, 0), tests (1, 0) are 1/2 away from (1/2, 1/2); 3 of 6 tests are untrained.
    found = skew([[4, 0], [3, 3]], [[1, 3], [2, 0]], drift=0.1)
    assert found == LabelSkew(0.5, 0.1, 0.625, 0.75, 1.5, 0.5)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0])
def test_the_concentration_of_dirichlet_draws_is_estimated(alpha):
    shares = np.random.default_rng(0).dirichlet([alpha] * 10, 20_000)
    assert skew(np.rint(shares * 10_000)).concentration == pytest.approx(alpha, rel=0.03)


@pytest.mark.parametrize(("counts", "expected"), [([[3, 3, 3]] * 7, None), ([[5], [2]], None), ([[5, 0], [0, 1]], 0.0)])
def test_equal_shares_have_no_concentration_and_one_class_per_client_has_the_lowest(counts, expected):
    assert skew(counts).concentration == expected


def test_test_drift_leaves_out_clients_without_tests():
    assert skew([[2, 2], [4, 0], [4, 0]], [[1, 1], [0, 1], [0, 0]]).test_drift == 0.5
    assert skew([[2, 2]], [[0, 0]]).test_drift is None


def test_untrained_tests_are_those_of_seen_clients():
    counts, tests = [[4, 0], [0, 4], [4, 0]], [[3, 1], [0, 4], [0, 9]]
    assert skew(counts, tests, seen=[0, 1]).untrained_tests == 1 / 8
    assert skew(counts, [[0, 0], [0, 0], [0, 9]], seen=[0, 1]).untrained_tests is None
