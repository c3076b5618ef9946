import os

import pytest

from fedprompt.data.files import json_files, limits

DEEP = "[" * 100_000


def test_json_that_is_nested_too_deeply_is_refused():
    assert json_files.parse('{"a": [1, {}]}') == {"a": [1, {}]}
    with pytest.raises(ValueError, match="it is nested too deeply"):
        json_files.parse(DEEP + "]" * len(DEEP))


def test_a_file_above_the_limit_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("[" + "1," * 50 + "1]")
    assert json_files.load(tmp_path / "a.json") == [1] * 51
    monkeypatch.setattr(json_files, "MAX_JSON_BYTES", 50)
    with pytest.raises(ValueError, match="it has 103 bytes, at most 50 are read"):
        json_files.load(tmp_path / "a.json")


def test_folders_and_pipes_are_errors_of_the_system(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("folder", "Is a directory"), ("pipe", "not a regular file"), ("none", "No such file")):
        with pytest.raises(OSError, match=message):
            limits.read_bounded(tmp_path / name, 10)


@pytest.mark.parametrize("content", [DEEP, '{"a": ' + "9" * 5000 + "}", "[1]", "\udcff", "{"])
def test_a_lenient_read_of_an_invalid_file_is_empty(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode(errors="surrogateescape"))
    assert json_files.read(tmp_path / "a.json") == {}
