import errno
import os
import re
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.images import cache
from fedprompt.data.images.decoding import train_test_files
from tests.data.made import image, in_two_processes

COLOURS = [(10 * i, 0, 255 - 10 * i) for i in range(6)]


def pictures(root):
    """Four training and two test images of several sizes, image i in COLOURS[i]."""
    paths = [f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        if not (root / path).exists():
            image(root / path, COLOURS[i], (8 + i, 9))
    return train_test_files(root, paths[:4], paths[4:], "toy", "v1")


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def counted(monkeypatch):
    """The images that were decoded, in the order of decoding."""
    decoded: list[Path] = []
    real = cache.decode

    def decode(path, *arguments):
        decoded.append(path)
        return real(path, *arguments)

    monkeypatch.setattr(cache, "decode", decode)
    return decoded


def test_both_parts_come_from_one_file_in_the_order_of_their_paths(tmp_path, counted):
    train, test = pictures(tmp_path / "images")
    first, second = (cache.load_decoded(part, 4, folder=tmp_path / "cache") for part in (train, test))
    assert first.shape == (4, 4, 4, 3)
    assert first.dtype == np.uint8
    assert [tuple(pixel) for pixel in first[:, 2, 2]] == COLOURS[:4]
    assert [tuple(pixel) for pixel in second[:, 2, 2]] == COLOURS[4:]
    assert len(counted) == 6
    suffixes = sorted(Path(name).suffix for name in names(tmp_path / "cache"))
    assert suffixes == [".json", ".json", ".lock", ".npy"]


def test_images_are_memory_mapped(tmp_path):
    part = cache.load_decoded(pictures(tmp_path / "images")[0], 4, folder=tmp_path / "cache")
    assert isinstance(part, np.memmap)
    part[:] = 0  # a reader's own copy
    assert cache.load_decoded(pictures(tmp_path / "images")[0], 4, folder=tmp_path / "cache").any()


def test_each_size_and_rule_has_its_own_file(tmp_path, counted):
    train, _ = pictures(tmp_path / "images")
    for size, rule in ((4, "stretch"), (5, "stretch"), (4, "crop"), (4, "stretch")):
        cache.load_decoded(train, size, rule, tmp_path / "cache")
    assert len(counted) == 3 * 6


@pytest.mark.parametrize("change", ["content", "time", "identity"])
def test_a_source_that_changed_is_decoded_again(tmp_path, change, counted):
    train, _ = pictures(tmp_path / "images")
    cache.load_decoded(train, 4, folder=tmp_path / "cache")
    if change == "content":
        image(tmp_path / "images" / "1.png", (1, 2, 3), (50, 50))
    elif change == "time":
        os.utime(tmp_path / "images" / "1.png", ns=(1, 1))
    else:
        train, _ = train_test_files(tmp_path / "images", train.paths, ["5.png"], "toy", "v2")
    again = cache.load_decoded(train, 4, folder=tmp_path / "cache")
    assert len(counted) == 6 + len(train.whole)
    assert tuple(again[1, 0, 0]) == ((1, 2, 3) if change == "content" else COLOURS[1])


def test_a_truncated_cache_file_is_recomputed(tmp_path):
    train, _ = pictures(tmp_path / "images")
    cache.load_decoded(train, 4, folder=tmp_path / "cache")
    (data,) = (tmp_path / "cache").glob("*.npy")
    data.write_bytes(data.read_bytes()[:200])
    assert tuple(cache.load_decoded(train, 4, folder=tmp_path / "cache")[1, 0, 0]) == COLOURS[1]


def test_unreadable_images_are_counted_and_named_and_leave_no_cache(tmp_path):
    train, _ = pictures(tmp_path / "images")
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    (tmp_path / "images" / "5.png").unlink()
    with pytest.raises(
        DataError, match=r"toy: 2 unreadable images: .*1.png is not a readable image: unknown format; .*5.png"
    ):
        cache.load_decoded(train, 4, folder=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))
    assert not [name for name in names(tmp_path / "cache") if name.startswith(".")]
    assert sorted(cache.find_unreadable(train, tmp_path / "cache")) == ["1.png", "5.png"]


def test_unreadable_images_are_stored_until_a_file_changes(tmp_path, counted):
    train, _ = pictures(tmp_path / "images")
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    for _ in range(2):
        assert list(cache.find_unreadable(train, tmp_path / "cache")) == ["1.png"]
    assert len(counted) == 6
    image(tmp_path / "images" / "1.png")
    assert cache.find_unreadable(train, tmp_path / "cache") == {}
    assert len(counted) == 12
    cache.find_unreadable(train, tmp_path / "cache", recheck=True)
    assert len(counted) == 18


def test_a_full_disk_is_reported_before_decoding(tmp_path, monkeypatch, counted):
    train, _ = pictures(tmp_path / "images")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100))
    with pytest.raises(DataError, match=re.escape("cannot be written (no space): toy at 4 px needs 0 MiB")):
        cache.load_decoded(train, 4, folder=tmp_path / "cache")
    assert counted == []


def test_a_disk_that_fills_up_leaves_no_half_written_cache(tmp_path, monkeypatch):
    train, _ = pictures(tmp_path / "images")

    monkeypatch.setattr(cache.os, "replace", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DataError, match=r"cannot be written \(no space left on device\).*BENCH_CACHE"):
        cache.load_decoded(train, 4, folder=tmp_path / "cache")
    assert [name for name in names(tmp_path / "cache") if not name.endswith(".lock")] == []


def test_a_cache_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot create the cache folder .*BENCH_CACHE"):
        cache.load_decoded(pictures(tmp_path / "images")[0], 4, folder=tmp_path / "file" / "cache")


def build(root, start, results):
    start.wait()
    results.put(int(cache.load_decoded(pictures(root / "images")[0], 4, folder=root / "cache").sum()))


def test_two_concurrent_processes_create_one_valid_cache(tmp_path):
    train, _ = pictures(tmp_path / "images")
    sums = in_two_processes(build, tmp_path)
    assert sums == [int(cache.load_decoded(train, 4, folder=tmp_path / "elsewhere").sum())] * 2
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_files_of_a_killed_process_do_not_block_others(tmp_path):
    train, _ = pictures(tmp_path / "images")
    cache.load_decoded(train, 4, folder=tmp_path / "cache")
    (data,) = (tmp_path / "cache").glob("*.npy")
    data.unlink()
    (tmp_path / "cache" / f".{data.name}.99999").write_bytes(b"half")  # what a killed builder leaves
    assert data.with_suffix(".lock").exists()
    assert cache.load_decoded(train, 4, folder=tmp_path / "cache").any()
    assert not [name for name in names(tmp_path / "cache") if name.startswith(".")]


def test_the_cache_folder_is_configurable(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    assert cache.default_folder() == tmp_path
    monkeypatch.delenv("BENCH_CACHE")
    assert cache.default_folder() == Path.home() / ".cache" / "federated-prompt-bench"
