import json
import re

import numpy as np
import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.federation import Federation, PartitionSettings, build
from tests.data.toy import balanced, owned, stream, toy

TRAIN, TEST = [[5, 0, 2], [1, 3], [4, 7]], [[1], [0, 3], []]


def named(path, content, **given):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return PartitionSettings("file", partition_file=str(path), **given)


@pytest.mark.parametrize(
    "content",
    [
        {"train": TRAIN, "test": TEST},
        {"train": {"0": TRAIN[0], "1": TRAIN[1], "2": TRAIN[2]}, "test": {"0": TEST[0], "1": TEST[1], "2": TEST[2]}},
        {"test": TEST, "train": {"2": TRAIN[2], "0": TRAIN[0], "1": TRAIN[1]}},
    ],
)
def test_index_lists_are_the_clients_in_any_form(tmp_path, content):
    federation = build(balanced(8, 4, 2), named(tmp_path / "p.json", content, held_out=1), stream(0))
    assert [client.train.tolist() for client in federation.clients] == [[0, 2, 5], [1, 3], [4, 7]]
    assert [client.test.tolist() for client in federation.clients] == [[1], [0, 3], []]
    assert federation.unused == (1, 1)
    assert len(federation.held_out) == 1


def test_the_tenth_client_comes_after_the_ninth(tmp_path):
    content = {str(k): [k] for k in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)}
    federation = build(balanced(11, 11, 2), named(tmp_path / "p.json", content), stream(0))
    assert [client.train.tolist() for client in federation.clients] == [[k] for k in range(11)]


def test_without_test_lists_the_test_split_follows_the_training_lists_in_size_and_classes(tmp_path):
    # Client 0 trains on 6 of class 0, client 1 on 2 of class 1: of 12 test samples they get 9 and 3.
    dataset = toy([0] * 6 + [1] * 6, [0] * 6 + [1] * 6, 2)
    federation = build(dataset, named(tmp_path / "p.json", [[0, 1, 2, 3, 4, 5], [6, 7]]), stream(0))
    assert federation.test_counts.sum(axis=1).tolist() == [9, 3]
    assert federation.test_counts.tolist() == [[6, 3], [0, 3]]  # client 0 wants 9 of class 0, and there are 6


def test_a_saved_federation_is_that_federation(tmp_path):
    for dataset, asked in (
        (balanced(60, 20, 4), PartitionSettings(clients=5, held_out=2, validation=0.2)),
        (owned([5, 1, 9]), PartitionSettings("natural", held_out=1, min_samples=2)),
    ):
        saved = build(dataset, asked, stream(3))
        saved.save(tmp_path / "f.json")
        again = build(dataset, PartitionSettings("file", partition_file=str(tmp_path / "f.json")), stream(9))
        assert again.hash == saved.hash
        assert again.settings == asked
        assert again.summary() == saved.summary()


def test_a_federation_of_index_lists_can_be_saved_and_loaded(tmp_path):
    dataset = balanced(8, 4, 2)
    built = build(dataset, named(tmp_path / "p.json", {"train": TRAIN, "test": TEST}), stream(0))
    built.save(tmp_path / "f.json")
    assert Federation.load(tmp_path / "f.json", dataset).hash == built.hash
    assert "p.json" not in (tmp_path / "f.json").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[0, 1], [8]], "does not fit toy: client 1 has train sample 8; need 0 to 7"),
        ([[0, 1], [1]], "does not fit toy: train sample 1 is assigned 2 times, to clients 0, 1"),
        ([[0, 0], [1]], "does not fit toy: train sample 0 is assigned 2 times, to clients 0, 0"),
        ([[0], []], "does not fit toy: client 1 has no training sample"),
        ({"train": [[0], [1]], "test": [[0], [4]]}, "client 1 has test sample 4; need 0 to 3"),
        ({"train": [[0], [1]], "test": [[0], [0]]}, "test sample 0 is assigned 2 times"),
    ],
)
def test_lists_that_do_not_fit_the_data_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        build(balanced(8, 4, 2), named(tmp_path / "p.json", content), stream(0))
    assert "p.json" in str(error.value)


def test_a_saved_federation_of_another_data_set_is_refused(tmp_path):
    build(balanced(60, 20, 4), PartitionSettings(clients=5), stream(0)).save(tmp_path / "f.json")
    with pytest.raises(DataError, match=r"is for toy .*, not toy .*: build it again"):
        build(balanced(60, 20, 3), PartitionSettings("file", partition_file=str(tmp_path / "f.json")), stream(0))


@pytest.mark.parametrize("given", [{"held_out": 1}, {"validation": 0.1}])
def test_options_that_a_saved_federation_defines_are_refused(tmp_path, given):
    dataset, path = balanced(60, 20, 4), tmp_path / "f.json"
    build(dataset, PartitionSettings(clients=5), stream(0)).save(path)
    option = "--" + next(iter(given)).replace("_", "-")
    with pytest.raises(DataError, match=f"{option} has no effect with .*f.json: the file defines it"):
        build(dataset, PartitionSettings("file", partition_file=str(path), **given), stream(0))


def test_a_file_that_changed_after_configuration_is_refused(tmp_path):
    asked = named(tmp_path / "p.json", TRAIN)
    named(tmp_path / "p.json", TRAIN[::-1])
    with pytest.raises(DataError, match=r"p\.json has changed since this run was configured"):
        build(balanced(8, 4, 2), asked, stream(0))


def test_settings_without_the_file_cannot_be_built_again():
    with pytest.raises(DataError, match="--partition file needs a --partition-file"):
        build(balanced(8, 4, 2), PartitionSettings("file", partition_hash="00"), stream(0))


def test_a_validation_share_is_taken_from_listed_clients(tmp_path):
    federation = build(balanced(8, 4, 2), named(tmp_path / "p.json", TRAIN, validation=0.34), stream(0))
    for client, own in zip(federation.clients, TRAIN, strict=True):
        assert len(client.validation) == 1
        assert sorted(np.concatenate([client.train, client.validation])) == sorted(own)
