"""EM and BBSE in cases of two classes that can be solved by hand, and in degenerate ones.

Two kinds of samples, A and B: P(A | class 0) = 0.8 and P(A | class 1) = 0.3. With the shares (1/4, 3/4), a share of
0.8 / 4 + 0.3 * 3 / 4 = 0.425 is A.
"""

from unittest.mock import Mock

import numpy as np
import pytest

from fedprompt.benchmark.simulation.evaluation.prior_estimation import FLOOR, bbse, em

A, B = np.log([0.8, 0.3]), np.log([0.2, 0.7])
CONFUSION = np.array([[80.0, 30], [20, 70]])
EVEN = np.array([0.5, 0.5])


def mixed(share, count=1000):
    """Log likelihoods of samples of which a share is A."""
    return np.repeat([A, B], [round(share * count), round((1 - share) * count)], axis=0)


def floored(shares, source=EVEN):
    return pytest.approx((1 - FLOOR) * np.array(shares) + FLOOR * np.array(source))


@pytest.mark.parametrize("source", [[0.5, 0.5], [0.9, 0.1], [0.02, 0.98]])
def test_em_finds_the_shares_of_the_samples_whatever_the_source_prior(source):
    assert em(mixed(0.425), np.array(source)) == pytest.approx([0.25, 0.75], abs=1e-4)


def test_em_ignores_a_term_that_all_classes_of_a_sample_share():
    shift = np.random.default_rng(0).normal(0, 500, (1000, 1))
    assert em(mixed(0.425) + shift, EVEN) == pytest.approx([0.25, 0.75], abs=1e-4)


def test_em_leaves_the_source_prior_where_the_samples_say_nothing():
    source = np.array([0.7, 0.2, 0.1])
    assert em(np.zeros((5, 3)), source) == pytest.approx(source)


def test_em_stays_within_the_simplex_where_no_shares_explain_the_samples():
    """Only A: class 0 alone makes them most likely."""
    shares = em(mixed(1.0), EVEN)
    assert shares == pytest.approx([1, 0], abs=1e-4)


def test_em_of_one_sample_is_its_most_likely_class():
    assert em(A[None], EVEN) == pytest.approx([1, 0], abs=1e-4)


def test_em_gives_no_share_to_a_class_that_the_source_lacks():
    assert em(np.array([[0.0, 0, 50]] * 3), np.array([0.5, 0.5, 0])) == pytest.approx([0.5, 0.5, 0])


def test_em_has_no_estimate_without_samples_or_if_a_sample_is_impossible():
    assert em(np.zeros((0, 2)), EVEN) is None
    assert em(np.array([[0.0, -np.inf], [-np.inf, -np.inf]]), EVEN) is None
    assert em(np.array([[-np.inf, 0.0]]), np.array([1.0, 0])) is None


def test_em_accepts_classes_that_are_impossible_for_some_samples():
    shares = em(np.array([[0.0, -np.inf], [0, -np.inf], [-np.inf, 0], [0, -np.inf]]), EVEN)
    assert shares == pytest.approx([0.75, 0.25])


def test_bbse_finds_the_shares_of_the_samples():
    assert bbse(np.array([425, 575]), CONFUSION) == floored([0.25, 0.75])


def test_bbse_normalises_the_confusion_matrix_per_true_class():
    """Three times as many source samples of class 1 change the source prior, not the rates."""
    assert bbse(np.array([425, 575]), CONFUSION * [1, 3]) == floored([0.25, 0.75], [0.25, 0.75])


def test_bbse_does_not_go_below_zero():
    """Of 90 % A the linear system would have the shares 1.2 and -0.2."""
    assert bbse(np.array([90, 10]), CONFUSION) == floored([1, 0])


def test_bbse_of_one_sample_is_a_valid_distribution():
    shares = bbse(np.array([0, 1]), CONFUSION)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()


@pytest.mark.parametrize(
    "confusion",
    [np.array([[50.0, 50], [50, 50]]), np.array([[9.0, 9], [0, 0]]), np.zeros((2, 2))],
    ids=["classes look alike", "one class is never predicted", "no source samples"],
)
def test_bbse_has_no_estimate_from_a_singular_confusion_matrix(confusion):
    assert bbse(np.array([3, 5]), confusion) is None


def test_bbse_has_no_estimate_where_the_solver_does_not_converge(monkeypatch):
    monkeypatch.setattr("scipy.optimize.nnls", Mock(side_effect=RuntimeError("Maximum number of iterations reached.")))
    assert bbse(np.array([425, 575]), CONFUSION) is None


def test_bbse_has_no_estimate_without_samples():
    assert bbse(np.zeros(2), CONFUSION) is None


def test_bbse_with_one_source_class_is_that_class():
    assert bbse(np.array([3, 5]), np.array([[4.0, 0], [1, 0]])) == pytest.approx([1, 0])
    assert bbse(np.array([0, 5]), np.array([[4.0, 0], [0, 0]])) is None
