import pytest

from fedprompt.data.files.atomic import atomic_write


@pytest.mark.parametrize("content", ["für", "für".encode(), lambda path: path.write_text("für", encoding="utf-8")])
def test_text_bytes_and_a_function_write_the_same_file(content, tmp_path):
    (tmp_path / "a.txt").write_text("old")
    atomic_write(tmp_path / "a.txt", content)
    assert (tmp_path / "a.txt").read_bytes() == "für".encode()
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic_write(tmp_path / "a.txt", fail)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}
