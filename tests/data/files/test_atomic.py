import errno
import os
from types import SimpleNamespace

import pytest

from fedprompt.data.files import atomic
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


@pytest.fixture
def renames(monkeypatch):
    """Lets the next renames fail with these errors; returns them and the waits between the attempts."""
    errors, waits, rename = [], [], os.replace

    def replace(source, target):
        if errors:
            raise OSError(errors[0], os.strerror(errors.pop(0)))
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(atomic.time, "sleep", waits.append)
    return SimpleNamespace(errors=errors, waits=waits)


def test_a_rename_is_tried_again_after_errors_of_network_file_systems(renames, tmp_path):
    (tmp_path / "a.txt").write_text("old")
    renames.errors += [errno.ESTALE, errno.EBUSY]
    atomic_write(tmp_path / "a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new"}
    assert renames.waits == [0.05, 0.2]


def test_a_rename_that_keeps_failing_leaves_the_old_file_within_two_seconds(renames, tmp_path):
    (tmp_path / "a.txt").write_text("old")
    renames.errors += [errno.ESTALE] * 5
    with pytest.raises(OSError, match="Stale file handle"):
        atomic_write(tmp_path / "a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}
    assert renames.errors == []
    assert sum(renames.waits) <= 2


def test_other_errors_of_a_rename_are_not_repeated(renames, tmp_path):
    renames.errors += [errno.EACCES]
    with pytest.raises(PermissionError):
        atomic_write(tmp_path / "a.txt", "new")
    assert (list(tmp_path.iterdir()), renames.waits) == ([], [])


def test_a_rename_whose_reply_was_lost_has_succeeded(monkeypatch, tmp_path):
    rename = os.replace

    def lost(source, target):
        rename(source, target)
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "replace", lost)
    atomic_write(tmp_path / "a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new"}
