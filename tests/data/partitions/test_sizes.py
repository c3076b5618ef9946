import numpy as np

from fedprompt.data.partitions.settings import PartitionSettings
from tests.data.toy import balanced, toy


def test_iid_gives_every_client_the_shares_of_the_data():
    dataset = toy([0] * 60 + [1] * 30 + [2] * 10, [0] * 6 + [1] * 3 + [2], 3)
    dealt = PartitionSettings("iid", clients=10).assign(dataset, np.random.default_rng(0))
    for positions in dealt.train:
        assert np.bincount(dataset.train_y[positions]).tolist() == [6, 3, 1]


def test_quantity_skews_sizes_and_leaves_the_classes_alone():
    dataset, clients = balanced(40_000, 4_000, 2), 200
    asked = PartitionSettings("quantity", alpha=0.5, clients=clients)
    dealt = asked.assign(dataset, np.random.default_rng(0))
    sizes = np.array([len(positions) for positions in dealt.train])
    assert sizes.sum() == 40_000
    assert sizes.min() >= 1
    # A share of Dir(alpha 1_K) has the variance (1/K)(1 - 1/K) / (alpha K + 1).
    np.testing.assert_allclose((sizes / 40_000).var(), (1 / 200) * (199 / 200) / 101, rtol=0.5)
    large = [np.bincount(dataset.train_y[own], minlength=2) for own in dealt.train if len(own) >= 20]
    assert max(abs(int(a) - int(b)) for a, b in large) <= 2
