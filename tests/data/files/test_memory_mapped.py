"""Memory-mapped arrays. Image files and leftovers of killed processes are tested in test_cache.py."""

import errno
import re
import shutil
from unittest.mock import Mock

import numpy as np
import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.files import memory_mapped as mapped
from fedprompt.data.files.memory_mapped import MappedArray
from tests.data.made import in_two_processes

SHAPE = (5, 3)
WHOLE = np.arange(15, dtype=np.float32).reshape(SHAPE)


def array(folder, shape=SHAPE, dtype=np.float32, **origin):
    return MappedArray(folder / "cache" / "a.npy", "numbers", shape, np.dtype(dtype), origin or {"of": "one"})


class Maker:
    """Yields blocks of an array and counts its calls."""

    def __init__(self, values=WHOLE):
        self.values, self.calls = values, 0

    def __call__(self):
        self.calls += 1
        yield self.values[:2]
        yield self.values[2:]


def left(folder):
    """The files in the cache except the lock."""
    return sorted(path.name for path in (folder / "cache").iterdir() if path.suffix != ".lock")


def test_blocks_are_written_in_order_and_memory_mapped(tmp_path):
    found = array(tmp_path).get(Maker())
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, WHOLE)
    assert left(tmp_path) == ["a.json", "a.npy"]
    assert array(tmp_path).nbytes == 5 * 3 * 4


def test_the_array_is_computed_once(tmp_path):
    maker = Maker()
    for _ in range(3):
        np.testing.assert_array_equal(array(tmp_path).get(maker), WHOLE)
    assert maker.calls == 1


def test_writes_do_not_change_the_file(tmp_path):
    array(tmp_path).get(Maker())[:] = -1
    np.testing.assert_array_equal(array(tmp_path).get(Maker()), WHOLE)


@pytest.mark.parametrize(
    "change", [{"of": "another"}, {"of": "one", "more": 1}, {"shape": (3, 5)}, {"dtype": np.int32}]
)
def test_another_origin_shape_or_type_recomputes_the_array(tmp_path, change):
    array(tmp_path).get(Maker())
    asked = array(tmp_path, **change)
    other = Maker(np.zeros(asked.shape, asked.dtype))
    found = asked.get(other)
    assert other.calls == 1
    assert (found.shape, found.dtype) == (asked.shape, asked.dtype)
    assert not found.any()


@pytest.mark.parametrize("part", ["a.npy", "a.json"])
def test_a_deleted_file_is_recomputed(tmp_path, part):
    array(tmp_path).get(Maker())
    (tmp_path / "cache" / part).unlink()
    maker = Maker()
    np.testing.assert_array_equal(array(tmp_path).get(maker), WHOLE)
    assert maker.calls == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("two images cannot be read")])
def test_an_error_during_computation_leaves_no_file_and_propagates(tmp_path, error):
    def broken():
        yield WHOLE[:2]
        raise error

    with pytest.raises(type(error)):
        array(tmp_path).get(broken)
    assert left(tmp_path) == []
    np.testing.assert_array_equal(array(tmp_path).get(Maker()), WHOLE)


def test_an_interrupted_recomputation_keeps_the_old_array(tmp_path):
    array(tmp_path).get(Maker())

    def broken():
        raise KeyboardInterrupt
        yield WHOLE

    with pytest.raises(KeyboardInterrupt):
        array(tmp_path, of="another").get(broken)
    np.testing.assert_array_equal(array(tmp_path).get(Maker()), WHOLE)


def test_without_space_nothing_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 41, 59))
    maker = Maker()
    message = "cannot be written (no space): numbers needs 0 MiB, 0 MiB are free; set BENCH_CACHE"
    with pytest.raises(DataError, match=re.escape(message)):
        array(tmp_path).get(maker)
    assert maker.calls == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 40, 60))
    assert array(tmp_path).get(maker).shape == SHAPE


def test_a_disk_that_becomes_full_leaves_no_file(tmp_path):
    def full():
        yield WHOLE[:2]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"cannot be written \(no space left on device\).*BENCH_CACHE"):
        array(tmp_path).get(full)
    assert left(tmp_path) == []


def test_a_folder_without_locks_is_named(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    with pytest.raises(DataError, match=r"cannot lock .*no locks available; set BENCH_CACHE to a local disk"):
        array(tmp_path).get(Maker())


def counted(root, start, answers):
    maker = Maker()
    start.wait()
    total = float(array(root).get(maker).sum())
    answers.put((total, maker.calls))


def test_of_two_concurrent_processes_one_computes_and_both_read(tmp_path):
    assert sorted(in_two_processes(counted, tmp_path)) == [(105.0, 0), (105.0, 1)]


def test_a_cache_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot create the cache folder .*BENCH_CACHE"):
        mapped.prepare(tmp_path / "file" / "cache")
