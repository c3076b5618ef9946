import json
import re
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.federation import Federation, PartitionSettings, build
from fedprompt.data.label_skew import LabelSkew
from tests.data.toy import balanced, stream, toy

SEEDS = st.integers(0, 1000)
DOMAINS = ("art", "photo", "sketch")
Case = tuple[DataSet, PartitionSettings]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any partition of a data set with unequal classes, with domains and with clients of its own."""
    classes = draw(st.integers(1, 5))
    labels = st.integers(0, classes - 1)
    train, test = draw(st.lists(labels, min_size=12, max_size=90)), draw(st.lists(labels, min_size=1, max_size=50))
    users = draw(st.integers(2, 6))
    dataset = replace(
        toy(train, test, classes),
        train_domains=np.arange(len(train)) % 3,
        test_domains=np.arange(len(test)) % 3,
        domains=DOMAINS,
        train_clients=np.arange(len(train)) % users,
        test_clients=draw(st.sampled_from([None, np.arange(len(test)) % users])),
        client_names=tuple(map(str, range(users))),
        identity="",
    )
    validation = draw(st.sampled_from([0.0, 0.1, 0.5]))
    alpha, clients = draw(st.floats(0.01, 100)), draw(st.integers(2, len(train)))
    held_out = draw(st.integers(0, clients - 1))
    fewest = int(np.bincount(train)[np.bincount(train) > 0].min())
    few = draw(st.integers(2, max(2, min(4, fewest))))
    choices: list[dict[str, Any]] = [
        {"kind": "iid", "clients": clients, "held_out": held_out},
        {"kind": "quantity", "alpha": alpha, "clients": clients, "held_out": held_out},
        {"kind": "dirichlet", "alpha": alpha, "clients": clients, "held_out": held_out},
        {"kind": "dirichlet", "alpha": alpha, "clients": clients, "held_out": held_out, "sizes": "lognormal"},
        {"kind": "dirichlet-class", "alpha": alpha, "clients": clients, "held_out": held_out},
        {"kind": "domain", "alpha": alpha, "clients_per_domain": draw(st.integers(2, 4)), "held_out": "photo"},
        {"kind": "domain", "clients": draw(st.integers(3, 12))},
        {"kind": "leave-one-domain-out", "domain": "art"},
        {"kind": "natural", "min_samples": 2},
    ]
    if fewest >= few:
        choices.append({"kind": "pathological", "classes_per_client": 1, "clients": few})
    return dataset, PartitionSettings(**draw(st.sampled_from(choices)), validation=validation)


@given(cases(), SEEDS)
def test_no_sample_is_assigned_twice(case, seed):
    dataset, settings = case
    federation = build(dataset, settings, stream(seed))
    held: dict[str, list[int]] = {"train": [], "test": []}
    for client in federation.clients:
        assert len(client.train) >= 1
        held["train"] += [*client.train.tolist(), *client.validation.tolist()]
        held[federation.test_part] += client.test.tolist()
    for part, labels, unused in zip(
        ("train", "test"), (dataset.train_y, dataset.test_y), federation.unused, strict=True
    ):
        assert len(held[part]) == len(set(held[part])) == len(labels) - unused
        assert set(held[part]) <= set(range(len(labels)))
    assert sorted([*federation.seen, *federation.held_out]) == list(range(len(federation.clients)))
    assert len(federation.seen) >= 1
    assert 0 <= federation.drift <= 1


@given(cases(), SEEDS)
def test_the_validation_share_changes_nothing_else(case, seed):
    dataset, settings = case
    with_share = build(dataset, replace(settings, validation=0.25), stream(seed))
    without = build(dataset, replace(settings, validation=0.0), stream(seed))
    assert with_share.held_out.tolist() == without.held_out.tolist()
    for some, none in zip(with_share.clients, without.clients, strict=True):
        assert sorted([*some.train, *some.validation]) == none.train.tolist()
        assert some.test.tolist() == none.test.tolist()
        size = len(none.train)
        assert len(some.validation) == (0 if size == 1 else max(1, round(size / 4)))


@given(cases(), SEEDS)
def test_the_same_seed_gives_the_same_hash(case, seed):
    dataset, settings = case
    assert build(dataset, settings, stream(seed)).hash == build(dataset, settings, stream(seed)).hash


@given(st.sampled_from(["iid", "dirichlet"]), st.integers(2, 40), st.integers(40, 90), st.integers(1, 60), SEEDS)
def test_sizes_are_equal_and_what_is_over_is_counted(kind, clients, train, test, seed):
    federation = build(balanced(train, test, 3), PartitionSettings(kind, clients=clients), stream(seed))
    assert federation.counts.sum(axis=1).tolist() == [train // clients] * clients
    if test >= clients:
        assert federation.test_counts.sum(axis=1).tolist() == [test // clients] * clients
        assert federation.unused == (train % clients, test % clients)
    else:
        assert sorted(federation.test_counts.sum(axis=1)) == [0] * (clients - test) + [1] * test
        assert federation.unused == (train % clients, 0)


@given(st.sampled_from(["quantity", "dirichlet-class", "dirichlet"]), st.integers(2, 40), SEEDS)
def test_unequal_sizes_use_every_training_sample(kind, clients, seed):
    lognormal = {"sizes": "lognormal"} if kind == "dirichlet" else {}
    federation = build(balanced(80, 50, 4), PartitionSettings(kind, clients=clients, **lognormal), stream(seed))
    assert federation.unused == (0, 0)
    assert federation.summary()["smallest"] >= 1


def test_counts_and_priors_come_from_each_clients_labels():
    dataset = balanced(200, 80, 4)
    federation = build(dataset, PartitionSettings(alpha=0.3, clients=10), stream(0))
    for k, client in enumerate(federation.clients):
        labels = dataset.train_y[client.train].tolist()
        assert federation.counts[k].tolist() == [labels.count(label) for label in range(4)]
        assert federation.priors[k].tolist() == [labels.count(label) / 20 for label in range(4)]
        tested = dataset.test_y[client.test].tolist()
        assert federation.test_counts[k].tolist() == [tested.count(label) for label in range(4)]


def test_drift_is_the_distance_from_targets_that_cannot_be_met():
    # Both clients want half and half of classes 0 and 1 in equal numbers: one sample each cannot be split.
    federation = build(balanced(2, 2, 2), PartitionSettings("iid", clients=2, held_out=0), stream(0))
    assert federation.drift == 0.5
    assert build(balanced(4, 2, 2), PartitionSettings("iid", clients=2, held_out=0), stream(0)).drift == 0


def test_the_drift_of_test_shares_is_not_that_of_training_shares(tmp_path):
    # Each client is tested on the class that it does not train on. No shares are drawn, so drift is 0.
    dataset, path = toy([0, 0, 1, 1], [0, 1], 2), tmp_path / "lists.json"
    path.write_text('{"train": [[0, 1], [2, 3]], "test": [[1], [0]]}')
    federation = build(dataset, PartitionSettings("file", partition_file=str(path), held_out=0), stream(0))
    assert (federation.summary()["drift"], federation.summary()["test_drift"]) == (0, 1)


def test_held_out_clients_are_a_random_choice_of_all_clients():
    dataset, settings = balanced(40, 20, 2), PartitionSettings("iid", clients=10, held_out=3)
    chosen = [tuple(build(dataset, settings, stream(seed)).held_out.tolist()) for seed in range(30)]
    assert len(set(chosen)) > 20
    times = np.bincount(np.concatenate(chosen), minlength=10)  # 9 expected, standard deviation 2.5
    assert times.min() >= 2
    assert times.max() <= 18


def test_fewer_samples_per_client_leave_the_others_unused():
    # 200 training and 80 test samples: 12 of at most 20 per client, and 12 * 80 / 200 = 4.8 test samples, rounded down.
    settings = PartitionSettings(alpha=0.1, clients=10, samples_per_client=12)
    federation = build(balanced(200, 80, 4), settings, stream(0))
    assert federation.counts.sum(axis=1).tolist() == [12] * 10
    assert federation.test_counts.sum(axis=1).tolist() == [4] * 10
    assert federation.unused == (80, 40)


def test_fewer_samples_per_client_realise_a_small_alpha():
    def mean(**options):
        settings = PartitionSettings(alpha=0.05, clients=20, **options)
        found = [build(balanced(1400, 400, 10), settings, stream(seed)).label_skew for seed in range(5)]
        return np.mean([(skew.concentration, skew.drift) for skew in found], axis=0)

    (many, large), (few, small) = mean(), mean(samples_per_client=20)
    assert many > 0.1 > few
    assert large > 0.2 > 0.05 > small
    assert few == pytest.approx(0.05, abs=0.02)


def test_more_samples_per_client_than_there_are_are_refused_with_the_limit():
    dataset = balanced(200, 80, 4)
    build(dataset, PartitionSettings(clients=9, samples_per_client=22), stream(0))
    with pytest.raises(DataError, match=r"--samples-per-client 23 .*: 200 training samples give 9 clients at most 22 "):
        build(dataset, PartitionSettings(clients=9, samples_per_client=23), stream(0))


def test_another_seed_gives_another_federation():
    dataset, settings = balanced(200, 80, 4), PartitionSettings(clients=10)
    assert len({build(dataset, settings, stream(seed)).hash for seed in (0, 1, 2)}) == 3


def test_the_held_out_choice_does_not_change_the_partition():
    dataset = balanced(200, 80, 4)
    few, many = (build(dataset, PartitionSettings(clients=10, held_out=h), stream(0)) for h in (1, 5))
    assert [c.train.tolist() for c in few.clients] == [c.train.tolist() for c in many.clients]
    assert few.hash != many.hash


def test_the_hash_ignores_the_name_but_not_the_content_of_the_data():
    settings = PartitionSettings("iid", clients=2)
    same, other = toy([0, 1] * 4, [0, 1], 2), toy([0, 1] * 4, [1, 0], 2)
    object.__setattr__(same, "name", "elsewhere")
    first = build(toy([0, 1] * 4, [0, 1], 2), settings, stream(0))
    assert build(same, settings, stream(0)).hash == first.hash
    assert build(other, settings, stream(0)).hash != first.hash


def test_a_saved_federation_is_loaded_unchanged(tmp_path):
    dataset = balanced(60, 5, 4)  # fewer test samples than clients: some test arrays are empty
    federation = build(dataset, PartitionSettings(alpha=0.1, clients=8), stream(0))
    federation.save(tmp_path / "f.json")
    back = Federation.load(tmp_path / "f.json", dataset)
    assert back.hash == federation.hash
    assert (back.settings, back.drift, back.unused) == (federation.settings, federation.drift, federation.unused)
    assert (back.counts == federation.counts).all()
    assert back.held_out.tolist() == federation.held_out.tolist()
    assert [c.test.tolist() for c in back.clients] == [c.test.tolist() for c in federation.clients]
    assert {c.test.dtype for c in back.clients} == {np.dtype(np.int64)}
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    federation = build(balanced(60, 20, 4), PartitionSettings(clients=4), stream(0))
    (tmp_path / "f.json").write_text("old")

    monkeypatch.setattr("os.replace", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        federation.save(tmp_path / "f.json")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def _set(*keys, value):
    def change(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def _swap(document):
    first, second = document["clients"][:2]
    first["train"], second["train"] = second["train"], first["train"]


def _repeat(document):
    document["clients"][1]["test"][0] = document["clients"][0]["test"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_swap, "was modified: its content does not match its hash"),
        (_set("settings", "alpha", value=0.7), "was modified"),
        (_set("drift", value=0.9), "was modified"),
        (_set("clients", 0, "validation", 0, value=0), "is assigned 2 times, to clients"),
        (_set("test_part", value="both"), "test_part: Input should be 'train' or 'test'"),
        (_set("dropped", value=3), "was modified"),
        (_repeat, "is assigned 2 times, to clients 0, 1"),
        (_set("clients", 3, "train", 0, value=60), "client 3 has train sample 60; need 0 to 59"),
        (_set("clients", 3, "train", value=[]), "client 3 has no training sample"),
        (_set("clients", 3, "train", 0, value=-1), "clients.3.train.0: Input should be greater than or equal to 0"),
        (_set("clients", 3, "train", 0, value=10**30), "clients.3.train.0: Input should be less than"),
        (_set("clients", 3, "train", 0, value="7"), "clients.3.train.0: Input should be a valid integer"),
        (_set("clients", value=[]), "clients: List should have at least 2 items"),
        (_set("settings", "alpha", value=-1), "--alpha -1 is not in"),
        (_set("extra", value=1), "extra: Extra inputs are not permitted"),
        (_set("version", value=2), "has format version 2; this program reads 1"),
        (_set("format", value="run"), "is not a federation file: format: Input should be 'federation'"),
        (_set("identity", value="digits-1"), "is for toy (digits-1), not toy (sha256:"),
    ],
)
def test_a_modified_federation_file_is_refused(tmp_path, change, message):
    dataset, path = balanced(60, 20, 4), tmp_path / "f.json"
    build(dataset, PartitionSettings(clients=5, validation=0.2), stream(0)).save(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=re.escape(message)) as error:
        Federation.load(path, dataset)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"\x80\x04pickle"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(DataError, match=r"is not a (federation|readable partition) file"):
        Federation.load(tmp_path / "f.json", balanced(60, 20, 4))


def test_a_missing_federation_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"partition file not found: .*none\.json"):
        Federation.load(tmp_path / "none.json", balanced(60, 20, 4))


def test_the_summary_counts_used_and_unused_samples():
    # 62 samples over 5 clients: 12 each and 2 left over; a sixth of 12 is validation; 3 tests reach 3 of the clients.
    settings = PartitionSettings("iid", clients=5, held_out=2, validation=1 / 6)
    summary = build(balanced(62, 3, 2), settings, stream(0)).summary()
    for name in LabelSkew.__dataclass_fields__:
        del summary[name]
    assert summary == {
        "clients": 5,
        "held_out": 2,
        "dropped": 0,
        "train": 50,
        "validation": 10,
        "test": 3,
        "smallest": 10,
        "median": 10.0,
        "largest": 10,
        "untested": 2,
        "untrained": 0,
        "unused": [2, 0],
    }


def test_the_summary_counts_tests_of_classes_that_their_client_was_not_trained_on(tmp_path):
    # Client 0 trains on classes 0 0 1 and is tested on 0 2 2, client 1 trains on class 2 and is tested on 1 2: 2 + 1.
    dataset, path = toy([0, 0, 1, 2], [0, 2, 2, 1, 2], 3), tmp_path / "lists.json"
    path.write_text('{"train": [[0, 1, 2], [3]], "test": [[0, 1, 2], [3, 4]]}')
    federation = build(dataset, PartitionSettings("file", partition_file=str(path)), stream(0))
    assert federation.summary()["untrained"] == 3


def test_a_class_of_which_only_validation_samples_are_left_counts_as_untrained():
    # Each client has a sample of class 0 and one of class 1, one of them set aside, and is tested on both.
    settings = PartitionSettings("iid", clients=2, held_out=0, validation=0.5)
    assert build(balanced(4, 4, 2), settings, stream(0)).summary()["untrained"] == 2
