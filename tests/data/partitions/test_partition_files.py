import json
import re

import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.federation import PartitionSettings, build
from fedprompt.data.partitions.partition_files import IndexLists, SavedFederation, read
from tests.data.toy import balanced, stream


def test_federations_and_index_lists_are_distinguished(tmp_path):
    build(balanced(60, 20, 4), PartitionSettings(clients=5), stream(0)).save(tmp_path / "f.json")
    saved = read(tmp_path / "f.json")
    assert isinstance(saved, SavedFederation)
    assert saved.made_with.keys() == {"fedprompt-bench", "numpy"}
    (tmp_path / "p.json").write_text("[[3, 1], [2]]")
    lists = read(tmp_path / "p.json")
    assert isinstance(lists, IndexLists)
    assert [own.tolist() for own in lists.train] == [[3, 1], [2]]
    assert lists.test is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a partition file: it is not JSON"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("7", "is not a partition file: train list: Input should be a valid list"),
        ("[[0]]", "List should have at least 2 items"),
        ("[[0], 1]", "train list 1: Input should be a valid list"),
        ("[[0], [1.5]]", "train list 1.0: Input should be a valid integer"),
        ('[[0], ["1"]]', "train list 1.0: Input should be a valid integer"),
        ("[[0], [true]]", "train list 1.0: Input should be a valid integer"),
        ("[[0], [-1]]", "train list 1.0: Input should be greater than or equal to 0"),
        ("[[0], [1e400]]", "train list 1.0: Input should be a valid integer"),
        ('{"test": [[0], [1]]}', "train list: Input should be a valid list"),
        ('{"train": [[0], [1]], "val": []}', "has the unknown key 'val'; need 'train' and optionally 'test'"),
        ('{"train": [[0], [1]], "test": [[0]]}', "test list: List should have at least 2 items"),
        ('{"train": [[0], [1]], "test": [[0], [1], [2]]}', "has 2 training lists but 3 test lists"),
        ('{"format": "federation", "version": 2}', "has format version 2; this program reads 1"),
    ],
)
def test_an_invalid_partition_file_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read(tmp_path / "p.json")
    assert "p.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_not_a_partition_file(tmp_path):
    with pytest.raises(DataError, match="is not a readable partition file"):
        read(tmp_path)


def test_the_file_contains_the_partition_settings(tmp_path):
    build(balanced(60, 20, 4), PartitionSettings("pathological", clients=5), stream(0)).save(tmp_path / "f.json")
    settings = json.loads((tmp_path / "f.json").read_text())["settings"]
    assert settings == {
        "kind": "pathological",
        "clients": 5,
        "held_out": 0.2,
        "validation": 0.0,
        "classes_per_client": 2,
    }
