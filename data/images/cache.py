"""The decode cache: the images of a data set at one size, decoded once a machine and memory-mapped by all workers.

One `.npy` of uint8 [N, S, S, 3] with a JSON index beside it, for each data set, size and resize rule.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from fedprompt.data.errors import DataError
from fedprompt.data.files import json_files as jsonfile
from fedprompt.data.files.memory_mapped import MappedArray, default_folder, prepare
from fedprompt.data.files.progress import bar
from fedprompt.data.images.decoding import Array, ImageFiles, Rule, decode

CHUNK = 256  # images a task
NAMED = 3  # unreadable images that an error names


def decoded(
    files: ImageFiles, size: int, rule: Rule = "stretch", folder: Path | None = None, stamp: str | None = None
) -> Array:
    """The images of `files` as uint8 [N, size, size, 3], memory-mapped copy-on-write; made now where they are not yet.

    The whole album is made at once and kept until a file of it changes. Whoever comes while another process makes it
    waits for that one. `stamp` saves a look at every file where `stamp(files)` is known. Raises DataError where images
    are unreadable or there is no space; then nothing is left behind.
    """
    folder, mark = folder or default_folder(), stamp or _stamp(files.whole)
    album = _array(files.whole, size, rule, folder, mark)
    images = album.get(lambda: _blocks(files.whole, size, rule, folder, mark))
    return images[files.rows.start : files.rows.stop]


def stamp(files: ImageFiles) -> str:
    """Changes with the path, size or time of any file of the whole album."""
    return _stamp(files.whole)


def unreadable(files: ImageFiles, folder: Path | None = None, again: bool = False) -> dict[str, str]:
    """The images of the whole album that cannot be decoded: path and reason.

    Remembered until a file changes or they are asked for `again`.
    """
    album = files.whole
    record = _record(album, folder or default_folder())
    stamp = _stamp(album)
    known = jsonfile.read(record)
    if known.get("stamp") == stamp and not again:
        return dict(known["unreadable"])
    found: dict[str, str] = {}
    for _, faults in _decoded_chunks(album, None, "stretch", f"checking {album.name}"):
        found |= faults
    _remember(record, stamp, found)
    return found


def _array(album: ImageFiles, size: int, rule: Rule, folder: Path, stamp: str) -> MappedArray:
    """Where an album is kept at one size."""
    origin = {"dataset": album.name, "identity": album.key, "root": str(album.root), "rule": rule, "stamp": stamp}
    path = folder / f"{_title(album)}-{size}px-{rule}-{_digest(album)}.npy"
    return MappedArray(path, f"{album.name} at {size} px", (len(album), size, size, 3), np.dtype(np.uint8), origin)


def _title(album: ImageFiles) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", album.name).strip("-")[:60]


def _digest(album: ImageFiles) -> str:
    return hashlib.sha256(f"{album.key}\0{album.root.resolve()}".encode()).hexdigest()[:12]


def _record(album: ImageFiles, folder: Path) -> Path:
    """Where it is kept which images are unreadable."""
    return folder / f"{_title(album)}-{_digest(album)}.unreadable.json"


def _stamp(album: ImageFiles) -> str:
    """Changes with the path, size or time of any file; 200,000 files a second where the system knows them already."""
    digest = hashlib.sha256()
    for path in album.paths:
        try:
            stat = os.stat(album.root / path)
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\0absent\n".encode())
    return digest.hexdigest()


def _blocks(album: ImageFiles, size: int, rule: Rule, folder: Path, stamp: str) -> Iterator[Array]:
    """The decoded images in order. Raises DataError at the end where some were unreadable, and keeps their names."""
    faults: dict[str, str] = {}
    for images, bad in _decoded_chunks(album, size, rule, f"decoding {album.name}"):
        faults |= bad
        yield images
    _remember(_record(album, folder), stamp, faults)
    if faults:
        raise refusal(album.name, faults)


def refusal(name: str, faults: dict[str, str]) -> DataError:
    """The error for unreadable images: how many, and the first of them."""
    some = "; ".join(list(faults.values())[:NAMED]) + ("; ..." if len(faults) > NAMED else "")
    what = f"{len(faults)} unreadable image{'s' if len(faults) > 1 else ''}"
    return DataError(
        f"{name}: {what}: {some}\nmend them (`bench data verify` names all), or leave them out: --skip-corrupt"
    )


def _decoded_chunks(
    album: ImageFiles, size: int | None, rule: Rule, text: str
) -> Iterator[tuple[Array, dict[str, str]]]:
    """Blocks uint8 [n, size, size, 3] in order, black where unreadable, with these images' reasons.

    Threads do, since decoding leaves the interpreter's lock. With no size the images are only tried.
    """
    starts = range(0, len(album), CHUNK)
    with ThreadPoolExecutor(_processors()) as pool, bar(text, len(album)) as show:
        try:
            for start, result in zip(starts, pool.map(partial(_chunk, album, size, rule), starts), strict=True):
                show(min(start + CHUNK, len(album)))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for the rest


def _chunk(album: ImageFiles, size: int | None, rule: Rule, start: int) -> tuple[Array, dict[str, str]]:
    rows = range(start, min(start + CHUNK, len(album)))
    images = np.zeros((len(rows), size or 0, size or 0, 3), np.uint8)
    faults = {}
    for i, row in enumerate(rows):
        try:
            image = decode(album.path(row), size, rule)
        except DataError as error:
            faults[str(album.path(row).relative_to(album.root))] = str(error)
        else:
            if size:
                images[i] = image
    return images, faults


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _remember(path: Path, stamp: str, faults: dict[str, str]) -> None:
    prepare(path.parent)
    jsonfile.write(path, {"stamp": stamp, "unreadable": faults})
