import re

import numpy as np
import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.partitions.positions import check_not_empty, check_positions, class_counts, set_aside


def test_counts_are_of_each_client_and_class():
    labels = np.array([2, 0, 2, 1])
    assert class_counts(labels, [np.array([0, 2]), np.array([3, 1])], 3).tolist() == [[0, 0, 2], [1, 1, 0]]


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([[0, 1], [4]], "client 1 has train sample 4; need 0 to 3"),
        ([[0, -1], [2]], "client 0 has train sample -1; need 0 to 3"),
        ([[0, 1], [2, 1]], "train sample 1 is assigned 2 times, to clients 0, 1"),
    ],
)
def test_a_position_outside_the_data_or_assigned_twice_is_named(positions, message):
    with pytest.raises(DataError, match=re.escape(message)):
        check_positions("train", [np.array(own) for own in positions], 4)


def test_a_client_without_training_samples_is_named():
    with pytest.raises(DataError, match="client 1 has no training sample"):
        check_not_empty([np.array([0]), np.array([], np.int64)])


@pytest.mark.parametrize(
    ("size", "share", "expected"), [(10, 0.2, 2), (10, 0.01, 1), (10, 0.99, 9), (1, 0.5, 0), (2, 0.9, 1), (10, 0.0, 0)]
)
def test_a_share_is_set_aside_but_never_all(size, share, expected):
    own = np.arange(100, 100 + size)
    (kept,), (aside,) = set_aside([own], share, np.random.default_rng(0))
    assert len(aside) == expected
    assert sorted([*kept, *aside]) == own.tolist()
    assert (np.diff(kept) > 0).all()
    assert (np.diff(aside) > 0).all()


def test_what_is_set_aside_is_drawn_at_random():
    rng = np.random.default_rng(0)
    drawn = {int(set_aside([np.arange(5)], 0.2, rng)[1][0][0]) for _ in range(60)}
    assert drawn == set(range(5))
