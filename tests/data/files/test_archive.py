import bz2
import errno
import gzip
import io
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.files import archive as archives
from fedprompt.data.files.archive import unpack

CONTENT = {"pets/cat/1.jpg": b"meow" * 300, "pets/dog/2.jpg": np.random.default_rng(0).bytes(5000), "pets/empty": b""}


def tar(path, content, wrap=lambda data: data):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    path.write_bytes(wrap(buffer.getvalue()))
    return path


def zipped(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


MAKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "a.zip": zipped,
    "a.tar": tar,
    "a.tar.gz": lambda path, content: tar(path, content, gzip.compress),
    "a.tar.xz": lambda path, content: tar(path, content, lzma.compress),
    "a.tar.bz2": lambda path, content: tar(path, content, bz2.compress),
}
every_kind = pytest.mark.parametrize("kind", list(MAKERS))


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_kind
def test_the_content_becomes_the_target_without_its_wrapper(tmp_path, kind):
    unpack(MAKERS[kind](tmp_path / kind, CONTENT), tmp_path / "root" / "animals")
    assert files(tmp_path / "root") == {name.replace("pets", "animals", 1): data for name, data in CONTENT.items()}


def test_several_folders_at_the_top_all_stay(tmp_path):
    path = zipped(tmp_path / "a.zip", {"cat/1.jpg": b"1", "dog/2.jpg": b"2", "__MACOSX/._1.jpg": b"x"})
    unpack(path, tmp_path / "pets")
    assert files(tmp_path / "pets") == {"cat/1.jpg": b"1", "dog/2.jpg": b"2"}


@every_kind
@pytest.mark.parametrize("name", ["../out.jpg", "pets/../../out.jpg", "/tmp/out.jpg", "pets\\..\\out.jpg"])
def test_nothing_is_written_outside_the_target(tmp_path, kind, name):
    path = MAKERS[kind](tmp_path / kind, CONTENT | {name: b"bad"})
    with pytest.raises(DataError, match="would be written outside the target folder"):
        unpack(path, tmp_path / "root" / "pets")
    assert list((tmp_path / "root").iterdir()) == []
    assert not list(tmp_path.rglob("out.jpg"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_a_link_or_device_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        member = tarfile.TarInfo("pets/link")
        member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    with pytest.raises(DataError, match=r"refused .*: it contains the link or device pets/link"):
        unpack(tmp_path / "a.tar", tmp_path / "root" / "pets")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_zip_with_a_link_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        member = zipfile.ZipInfo("pets/link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(member, "/etc/passwd")
    with pytest.raises(DataError, match=r"refused .*: it contains the link pets/link"):
        unpack(tmp_path / "a.zip", tmp_path / "root" / "pets")


@every_kind
def test_a_truncated_archive_is_reported_as_such_wherever_it_was_cut(tmp_path, kind):
    whole = MAKERS[kind](tmp_path / kind, CONTENT).read_bytes()
    last = len(whole) - 10 if kind != "a.tar" else 3 * 512 + 2 * 512 + 10 * 512  # up to the end of the last member
    for length in {600, last // 3, last // 2, last - 5, last}:
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut is truncated: download it again"):
            unpack(tmp_path / "cut", tmp_path / "root" / "pets")
        assert list((tmp_path / "root").iterdir()) == []


@every_kind
def test_a_damaged_archive_is_refused(tmp_path, kind):
    path = MAKERS[kind](tmp_path / kind, CONTENT)
    data = bytearray(path.read_bytes())
    middle = 512 * 4 + 100 if kind == "a.tar" else len(data) // 2  # in a plain tar only headers have a checksum
    data[middle : middle + 40] = bytes(b ^ 255 for b in data[middle : middle + 40])
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"is (damaged|truncated).*: download it again"):
        unpack(path, tmp_path / "pets")
    assert not (tmp_path / "pets").exists()


@pytest.mark.parametrize("content", [b"", b"no archive" * 100])
def test_a_file_that_is_not_an_archive_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip is not a zip or tar archive"):
        unpack(tmp_path / "a.zip", tmp_path / "pets")


def test_an_existing_target_is_never_overwritten(tmp_path):
    (tmp_path / "pets").mkdir()
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'pets'} already exists: delete it")):
        unpack(zipped(tmp_path / "a.zip", CONTENT), tmp_path / "pets")


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "copyfileobj", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DataError, match=r"cannot unpack a\.zip to .*: no space left on device"):
        unpack(zipped(tmp_path / "a.zip", CONTENT), tmp_path / "root" / "pets")
    assert list((tmp_path / "root").iterdir()) == []


def pax_tar(path, size=1, **headers):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as file:
        member = tarfile.TarInfo("pets/x")
        member.pax_headers, member.size = headers, size
        file.addfile(member, io.BytesIO(bytes(size)))
    return path


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"GNU.sparse.map": "0,1", "GNU.sparse.size": "314572800"}, "refused .*: it contains the sparse file pets/x"),
        ({"GNU.sparse.map": "a,b", "GNU.sparse.size": "10"}, "is damaged .*: download it again"),
        ({"GNU.sparse.map": "0,1", "GNU.sparse.size": "huge"}, "is damaged .*: download it again"),
        ({"mtime": "1e300"}, "is damaged .*: download it again"),
        ({"mtime": "nan"}, "is damaged .*: download it again"),
    ],
)
def test_sparse_files_and_headers_without_numbers_are_refused(tmp_path, headers, message):
    with pytest.raises(DataError, match=message):
        unpack(pax_tar(tmp_path / "a.tar", **headers), tmp_path / "root" / "pets")
    assert list((tmp_path / "root").iterdir()) == []


@every_kind
def test_an_archive_may_not_unpack_to_more_than_its_limit(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "MIN_UNPACKED_LIMIT", 40_000)
    monkeypatch.setattr(archives, "MAX_UNPACKED_PER_BYTE", 0)
    path = MAKERS[kind](tmp_path / kind, {f"pets/{i}": bytes(3_000) for i in range(4)})
    unpack(path, tmp_path / "root" / "fits")
    path = MAKERS[kind](tmp_path / f"b{kind}", {"pets/0": b"", "pets/1": bytes(60_000)})
    with pytest.raises(DataError, match=r"refused .*: its [\d,]+ bytes would unpack to more than 0 MiB"):
        unpack(path, tmp_path / "root" / "pets")
    assert [entry.name for entry in (tmp_path / "root").iterdir()] == ["fits"]


def test_many_empty_files_count_with_the_space_that_they_take(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MIN_UNPACKED_LIMIT", 20_000)
    monkeypatch.setattr(archives, "MAX_UNPACKED_PER_BYTE", 0)
    with pytest.raises(DataError, match="would unpack to more than"):
        unpack(zipped(tmp_path / "a.zip", {f"pets/{i}": b"" for i in range(5)}), tmp_path / "pets")


def test_zeros_after_the_end_of_a_tar_are_not_decompressed_without_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MIN_UNPACKED_LIMIT", 100_000)
    monkeypatch.setattr(archives, "MAX_UNPACKED_PER_BYTE", 0)
    path = tar(tmp_path / "a.tar.gz", CONTENT, lambda data: gzip.compress(data + bytes(5 * 2**20)))
    with pytest.raises(DataError, match="would unpack to more than"):
        unpack(path, tmp_path / "pets")


@pytest.mark.parametrize(("old", "new"), [(b"AAAA", b"\xff\xfe\xff\xfe"), (b"AAAA", b"/" * 4)])
def test_a_zip_with_a_name_that_does_not_decode_or_is_empty_is_refused(tmp_path, old, new):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        member = zipfile.ZipInfo("AAAAé")
        file.writestr(member, b"x")
    content = (tmp_path / "a.zip").read_bytes().replace("é".encode(), b"//").replace(old, new)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged|without a name|outside the target folder"):
        unpack(tmp_path / "a.zip", tmp_path / "root" / "pets")
    assert list((tmp_path / "root").iterdir()) == []
