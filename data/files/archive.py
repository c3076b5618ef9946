"""Archives, read as what they are: files by strangers. Nothing leaves the target folder and no link is made."""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fedprompt.data.errors import DataError
from fedprompt.data.files.progress import bar

MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz", b"BZh": "bz2"}
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)
UNWANTED = ("__MACOSX", ".DS_Store")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A file that holds (a part of) a data set and, unpacked, becomes `target` below the data root.

    `size` is in bytes. `url` is empty where it is only given out by hand, `md5` where none is published.
    """

    file: str
    target: str
    size: int
    url: str = ""
    md5: str = ""


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a zip or tar(.gz, .xz, .bz2) so that its content becomes the folder `target`, whole or not at all.

    One folder that wraps everything is taken off. Raises DataError where `target` exists, where a member would leave
    it or is a link, where the archive is truncated, damaged or none, and where there is no space.
    """
    if target.exists():
        raise DataError(f"{target} exists already: remove it to unpack {archive.name} again")
    kind = _kind(archive)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as unfinished:
            content = Path(unfinished, "content")
            content.mkdir()
            _extract(archive, kind, content)
            os.replace(_unwrapped(content), target)
    except OSError as error:
        raise DataError(f"cannot unpack {archive.name} to {target}: {error.strerror or error}") from error


def _kind(archive: Path) -> str:
    try:
        with archive.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"cannot read the archive {archive}: {error.strerror}") from error
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    raise DataError(f"{archive} is no zip or tar archive; fetch it again")


def _extract(archive: Path, kind: str, folder: Path) -> None:
    try:
        with archive.open("rb") as file, bar(f"unpacking {archive.name}", archive.stat().st_size, True) as show:
            for name, opened in _zip(file) if kind == "zip" else _tar(file, kind):
                place = folder / _inside(archive, name)
                if opened is None:
                    place.mkdir(parents=True, exist_ok=True)
                elif not set(UNWANTED) & set(place.parts):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with opened() as source, place.open("wb") as copy:
                        shutil.copyfileobj(source, copy, BLOCK)
                show(file.tell())
    except DAMAGED as error:
        raise DataError(f"{archive} is {_state(error)}: fetch it again") from error
    except OSError as error:
        if error.errno is None:  # bz2's word for damage; the system's faults have a number
            raise DataError(f"{archive} is damaged ({error}): fetch it again") from error
        raise
    except RuntimeError as error:  # a zip with a password
        raise DataError(f"{archive} cannot be unpacked: {error}") from error


def _state(error: Exception) -> str:
    if isinstance(error, EOFError) or str(error) in ("File is not a zip file", "unexpected end of data"):
        return "truncated"
    return f"damaged ({str(error) or type(error).__name__})"


Member = tuple[str, Callable[[], Any] | None]  # a name, and what opens it where it is a file


def _zip(file: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(f"{file.name} holds the link {member.filename}: a data set has none, so it is refused")
            yield member.filename, None if member.is_dir() else partial(archive.open, member)


def _tar(file: IO[bytes], kind: str) -> Iterator[Member]:
    with _decompressed(file, kind) as stream:
        watched = _LastRead(stream)
        with tarfile.open(fileobj=watched, mode="r:") as archive:  # type: ignore[call-overload]
            for member in archive:
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"{file.name} holds the link or device {member.name}: it is refused")
                yield member.name, None if member.isdir() else partial(archive.extractfile, member)
        if watched.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a missing end for an end
            raise EOFError
        while stream.read(BLOCK):  # up to the checksum at the end
            pass


def _decompressed(file: IO[bytes], kind: str) -> Any:
    openers: dict[str, Callable[[Any], Any]] = {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open}
    return openers[kind](file) if kind in openers else nullcontext(file)


class _LastRead:
    """A stream that remembers what it gave last."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        self.last = self.stream.read(size)
        return self.last

    def seek(self, *place: int) -> int:
        return int(self.stream.seek(*place))

    def tell(self) -> int:
        return int(self.stream.tell())


def _inside(archive: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataError(f"{archive} holds {name!r}, which would leave the target folder: it is refused")
    return Path(path)


def _unwrapped(folder: Path) -> Path:
    found = list(folder.iterdir())
    return found[0] if len(found) == 1 and found[0].is_dir() else folder
