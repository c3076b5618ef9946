"""The script behind docs/federations.md divides data as the page says; its other parts need flwr-datasets."""

import importlib.util

import numpy as np
import pytest

from tests.docs.markdown import ROOT


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("compare_federations", ROOT / "tools" / "compare_federations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pfllibs_algorithm_gives_each_sample_to_one_client_and_none_to_full_ones(script):
    labels = np.arange(4).repeat(100)
    owner, _ = script.pfllib_owners(labels, 0.5, 4, np.random.default_rng(0))
    sizes = np.bincount(owner, minlength=4)
    assert sizes.sum() == 400
    assert sizes.min() >= 40  # ten tests of a quarter
    for client in range(4):  # the last class that a client got made it full, if anything did
        by_class = np.bincount(labels[owner == client], minlength=4)
        last = by_class.nonzero()[0].max()
        assert by_class[:last].sum() < 100


def test_pfllibs_algorithm_is_given_up_where_it_would_never_stop(script, monkeypatch):
    monkeypatch.setattr(script, "ATTEMPTS", 5)
    assert script.pfllib_owners(np.zeros(40, int), 1e-3, 4, np.random.default_rng(0)) == (None, 5)


def test_the_numbers_of_a_federation_are_those_of_a_count_by_hand(script):
    train, test = np.array([[4, 0], [2, 2], [0, 0]]), np.array([[0, 8], [3, 1], [1, 1]])
    # Distances 1 and 1/4; 8 of 12 tests are of a class that their client lacks; two of three clients have few tests.
    assert script.numbers(train, test) == pytest.approx((0.625, 8 / 12, 2 / 3, 0, 4))
