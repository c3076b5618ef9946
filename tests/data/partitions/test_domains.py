import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedprompt.data.errors import DataError
from fedprompt.data.federation import PartitionSettings, build
from tests.data.toy import balanced, shifted, stream

THREE = ("art", "photo", "sketch")


def built(seed=0, **given):
    return build(shifted(40, 10, 4, THREE), PartitionSettings(**given), stream(seed))


def test_each_domain_is_one_client_that_holds_all_of_it():
    federation = built(kind="domain", held_out=0)
    assert [client.domain for client in federation.clients] == list(THREE)
    for number, client in enumerate(federation.clients):  # domains come in turns in the toy
        assert client.train.tolist() == list(range(number, 120, 3))
        assert client.test.tolist() == list(range(number, 30, 3))
    assert federation.unused == (0, 0)


@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from([None, 0.05, 1.0]))
@settings(max_examples=20)
def test_clients_of_a_domain_share_it_in_equal_sizes(seed, each, alpha):
    if each == 1:
        alpha = None
    federation = built(seed, kind="domain", clients_per_domain=each, alpha=alpha)
    assert [client.domain for client in federation.clients] == [name for name in THREE for _ in range(each)]
    for client in federation.clients:
        number = THREE.index(client.domain or "")
        assert len(client.train) == 40 // each
        assert set(client.train % 3) == {number}
        assert set(client.test % 3) == {number}


def test_the_first_domains_get_the_remaining_clients():
    domains = [client.domain for client in built(kind="domain", clients=8).clients]
    assert [domains.count(name) for name in THREE] == [3, 3, 2]


def test_alpha_skews_the_labels_inside_a_domain():
    def purity(alpha):
        return float(built(kind="domain", clients_per_domain=4, alpha=alpha).priors.max(axis=1).mean())

    assert purity(None) == pytest.approx(0.3)  # 10 samples of 4 classes alike: 3 or 2 of each, of 2.5 wanted
    assert purity(0.01) > 0.45  # a class has 10 samples too: clients with one favourite share it


def test_leave_one_domain_out_holds_out_the_clients_of_that_domain_alone():
    federation = built(kind="leave-one-domain-out", domain="photo", clients_per_domain=2)
    assert federation.held_out.tolist() == [2, 3]
    assert {federation.clients[k].domain for k in federation.seen} == {"art", "sketch"}


def test_a_domain_is_held_out_by_its_name():
    assert built(kind="domain", held_out="sketch").held_out.tolist() == [2]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "domain", "clients": 2}, "--clients 2 is too small: toy has 3 domains, each needs a client"),
        ({"kind": "domain", "alpha": 0.5}, "--alpha 0.5 has no effect with one client per domain"),
        ({"kind": "domain", "alpha": 0.5, "clients": 3}, "--alpha 0.5 has no effect with one client per domain"),
        ({"kind": "domain", "clients_per_domain": 41}, "domain 'art' has 40 training samples for 41 clients"),
        ({"kind": "domain", "held_out": "foto"}, "unknown domain 'foto'; did you mean 'photo'? available: art, photo"),
        ({"kind": "leave-one-domain-out", "domain": "foto"}, "unknown domain 'foto'; did you mean 'photo'?"),
        ({"kind": "iid", "held_out": "photo"}, "--held-out photo is not a number, and the clients of iid have no"),
    ],
)
def test_settings_that_the_domains_cannot_meet_are_refused(asked, message):
    with pytest.raises(DataError, match=re.escape(message)):
        built(**asked)


def test_a_data_set_without_domains_is_refused():
    for asked in (PartitionSettings("domain"), PartitionSettings("leave-one-domain-out", domain="photo")):
        with pytest.raises(DataError, match="toy has no domains: choose another data set or partition"):
            build(balanced(40, 10, 2), asked, stream(0))


def test_a_single_domain_cannot_be_left_out():
    dataset = shifted(40, 10, 2, ("photo",))
    with pytest.raises(DataError, match="--held-out photo leaves no client to train: it is the only domain"):
        build(dataset, PartitionSettings("leave-one-domain-out", domain="photo", clients_per_domain=2), stream(0))
    with pytest.raises(DataError, match="domain gives 1 client here: a federation needs at least 2"):
        build(dataset, PartitionSettings("domain"), stream(0))


def test_a_domain_without_test_images_leaves_its_clients_untested():
    dataset = shifted(6, 2, 2)
    object.__setattr__(dataset, "test_domains", np.zeros(4, np.int64))
    federation = build(dataset, PartitionSettings("domain", clients_per_domain=2), stream(0))
    assert [len(client.test) for client in federation.clients] == [2, 2, 0, 0]
