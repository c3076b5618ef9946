"""Safe unpacking of archives: nothing is written outside the target folder, and no links are created."""

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fedprompt.data.errors import DataError, reason
from fedprompt.data.files.limits import MAX_UNPACKED_PER_BYTE, MIN_UNPACKED_LIMIT
from fedprompt.data.files.progress import progress_bar

MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz", b"BZh": "bz2"}
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError),
    *(ValueError, OverflowError, IndexError),  # no numbers, impossible times, names that do not decode
)
IGNORED = {"__MACOSX", ".DS_Store"}
BLOCK = 1 << 20
SMALLEST_FILE = 4096  # bytes that even an empty file or folder may take on disk
EXTRACTION: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # absent before 3.11.4


@dataclass(frozen=True)
class Archive:
    """A published file that is unpacked, or copied, into the data root."""

    file: str  # the published file name
    target: str  # where its content belongs, relative to the data root
    size: int  # bytes
    url: str = ""  # download address; empty if its authors send the file on request only
    md5: str = ""  # published checksum; empty if there is none


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a zip or tar(.gz, .xz, .bz2) archive; its content becomes the folder `target`.

    A single top-level folder in the archive is removed. If anything fails, nothing remains on disk.

    Raises:
        DataError: `target` exists, the file is not an archive, is damaged or truncated, contains a link, a device, a
            sparse file, a path outside the target or too much for its size, or the disk is full.
    """
    if target.exists():
        raise DataError(f"{target} already exists: delete it to unpack {archive.name} again")
    kind = _kind(archive)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            content = Path(temporary, "content")
            content.mkdir()
            _extract(archive, kind, content)
            entries = list(content.iterdir())
            os.replace(entries[0] if len(entries) == 1 and entries[0].is_dir() else content, target)
    except OSError as error:
        raise DataError(f"cannot unpack {archive.name} to {target}: {reason(error)}") from error


def _kind(archive: Path) -> str:
    try:
        with archive.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"cannot read the archive {archive}: {reason(error)}") from error
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    raise DataError(f"{archive} is not a zip or tar archive; download it again")


def _extract(archive: Path, kind: str, folder: Path) -> None:
    extract = _extract_zip if kind == "zip" else _extract_tar
    size = archive.stat().st_size
    allowance = _Allowance(archive, size)
    try:
        with archive.open("rb") as file, progress_bar(f"unpacking {archive.name}", size, in_bytes=True) as show:
            extract(file, kind, folder, allowance, lambda: show(file.tell()))
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{archive} is {_damage(error)}: download it again") from error
    except OSError as error:
        if error.errno is None:  # bz2 reports damage as an OSError; errors of the system have a number
            raise DataError(f"{archive} is damaged ({error}): download it again") from error
        raise
    except RuntimeError as error:  # a zip archive with a password
        raise DataError(f"{archive} cannot be unpacked: {error}") from error


def _damage(error: Exception) -> str:
    if isinstance(error, EOFError) or str(error) in ("File is not a zip file", "unexpected end of data"):
        return "truncated"
    return f"damaged ({str(error) or type(error).__name__})"


class _Allowance:
    """What an archive may unpack to."""

    def __init__(self, archive: Path, size: int) -> None:
        self.archive, self.size = archive, size
        self.most = self.left = max(MIN_UNPACKED_LIMIT, size * MAX_UNPACKED_PER_BYTE)

    def take(self, size: int) -> None:
        """Counts one file or folder. Raises DataError if that is too much."""
        self.left -= max(size, SMALLEST_FILE)
        if self.left < 0:
            raise self.exceeded()

    def exceeded(self) -> DataError:
        """Returns the error for an archive that contains too much."""
        return DataError(
            f"refused {self.archive}: its {self.size:,} bytes would unpack to more than {self.most // 2**20:,} MiB\n"
            "download it again; if you trust it, unpack it yourself"
        )


def _extract_zip(file: IO[bytes], _: str, folder: Path, allowance: _Allowance, after_each: Callable[[], None]) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(f"refused {file.name}: it contains the link {member.filename}")
            if _is_wanted(file.name, member.filename):
                allowance.take(member.file_size)
                archive.extract(member, folder)
            after_each()


def _extract_tar(
    file: IO[bytes], kind: str, folder: Path, allowance: _Allowance, after_each: Callable[[], None]
) -> None:
    openers: dict[str, Callable[[Any], Any]] = {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open, "tar": nullcontext}
    with openers[kind](file) as stream:
        last_read = _LastRead(stream, allowance)
        with tarfile.open(fileobj=last_read, mode="r:") as archive:  # type: ignore[call-overload]
            for member in archive:
                if member.issparse():  # its size on disk is only a claim
                    raise DataError(f"refused {file.name}: it contains the sparse file {member.name}")
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"refused {file.name}: it contains the link or device {member.name}")
                if _is_wanted(file.name, member.name):
                    allowance.take(member.size)
                    archive.extract(member, folder, **EXTRACTION)
                after_each()
        if last_read.block != bytes(tarfile.BLOCKSIZE):  # tarfile accepts a missing end marker
            raise EOFError
        while last_read.read(BLOCK):  # so that the decompressor verifies the checksum at the end
            pass


class _LastRead:
    """Wraps a decompressed stream of limited length and remembers the block that was read last."""

    def __init__(self, stream: Any, allowance: _Allowance) -> None:
        self.read_stream, self.seek, self.tell = stream.read, stream.seek, stream.tell
        self.allowance = allowance
        self.block = b""

    def read(self, size: int = -1) -> bytes:
        """Reads a block; raises the error of an archive that is larger than allowed."""
        if size > BLOCK or self.tell() > self.allowance.most:  # tarfile reads members in blocks, but headers at once
            raise self.allowance.exceeded()
        self.block = self.read_stream(size)
        return self.block


def _is_wanted(archive: str, name: str) -> bool:
    """Whether to extract a member. Raises DataError for an empty path, or one outside the target folder."""
    path = PurePosixPath(name)
    if not path.parts and name.rstrip("/") != ".":
        raise DataError(f"refused {archive}: it contains a file without a name")
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(f"refused {archive}: {name!r} would be written outside the target folder")
    return bool(path.parts) and not IGNORED & set(path.parts)
