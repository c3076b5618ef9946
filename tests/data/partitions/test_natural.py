import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprompt.data.errors import DataError
from fedprompt.data.federation import PartitionSettings, build
from tests.data.toy import balanced, owned, stream

sizes = st.lists(st.integers(1, 30), min_size=2, max_size=12)


@given(sizes, st.integers(0, 1000))
@settings(max_examples=25)
def test_without_test_clients_a_fifth_of_each_clients_own_images_is_set_aside(own, seed):
    dataset = owned(own)
    assert dataset.train_clients is not None
    federation = build(dataset, PartitionSettings("natural", validation=0.3), stream(seed))
    assert federation.test_part == "train"
    assert federation.unused == (0, 4)
    for k, client in enumerate(federation.clients):
        everything = np.concatenate([client.train, client.validation, client.test])
        assert sorted(everything) == np.flatnonzero(dataset.train_clients == k).tolist()
        assert len(client.test) == (0 if own[k] == 1 else max(1, round(own[k] / 5)))
        tested = dataset.train_y[client.test].tolist()
        assert federation.test_counts[k].tolist() == [tested.count(label) for label in range(3)]


def test_the_data_sets_own_test_clients_are_kept():
    dataset = owned([5, 3, 4], [2, 0, 6])
    assert dataset.test_clients is not None
    federation = build(dataset, PartitionSettings("natural", held_out=1), stream(0))
    assert federation.test_part == "test"
    assert [len(client.train) for client in federation.clients] == [5, 3, 4]
    for k, client in enumerate(federation.clients):
        assert client.test.tolist() == np.flatnonzero(dataset.test_clients == k).tolist()


def test_small_clients_are_dropped_and_counted():
    federation = build(owned([5, 1, 4, 2, 9]), PartitionSettings("natural", min_samples=4, held_out=0.34), stream(0))
    assert [len(c.train) + len(c.test) for c in federation.clients] == [5, 4, 9]
    assert federation.summary()["dropped"] == 2
    assert federation.unused == (3, 4)
    assert len(federation.held_out) == 1  # 0.34 of the 3 that are left


def test_a_number_of_clients_is_drawn_from_those_large_enough():
    drawn = set()
    for seed in range(20):
        asked = PartitionSettings("natural", clients=2, min_samples=3, held_out=1)
        clients = build(owned([5, 1, 6, 7]), asked, stream(seed)).clients
        drawn.add(tuple(len(client.train) + len(client.test) for client in clients))
    assert drawn == {(5, 6), (5, 7), (6, 7)}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"clients": 4}, "toy has 3 clients with at least 1 training images (--min-samples); need 4: lower"),
        ({"min_samples": 6}, "toy has 1 clients with at least 6 training images (--min-samples); need 2: lower"),
        ({"held_out": 3}, "--held-out 3 leaves no client to train: at most 2 of 3 clients"),
    ],
)
def test_more_clients_than_the_data_set_has_are_refused(asked, message):
    with pytest.raises(DataError, match=re.escape(message)):
        build(owned([5, 3, 9]), PartitionSettings("natural", **asked), stream(0))


def test_a_data_set_without_clients_is_refused():
    with pytest.raises(DataError, match="toy has no natural clients: use another partition, such as dirichlet"):
        build(balanced(10, 10, 2), PartitionSettings("natural"), stream(0))
