"""The decode cache: all images of a data set at one size, decoded once per machine and memory-mapped by all workers.

Each data set, size and resize rule has one `.npy` file (uint8 [N, S, S, 3]) with a JSON index.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from fedprompt.data.errors import DataError, shortened
from fedprompt.data.files import json_files
from fedprompt.data.files.memory_mapped import MappedArray, default_folder, prepare
from fedprompt.data.files.progress import progress_bar
from fedprompt.data.images.decoding import Array, ImageFiles, ResizeRule, decode

CHUNK = 256  # images per task


def load_decoded(
    files: ImageFiles, size: int, rule: ResizeRule = "stretch", folder: Path | None = None, stamp: str | None = None
) -> Array:
    """Returns decoded images, memory-mapped copy-on-write.

    The first call decodes the whole data set and stores the result until a file changes. If another process is
    decoding it, waits for that process.

    Args:
        files: The images.
        size: Height and width of the decoded images.
        rule: How images are resized, see `decode`.
        folder: The cache folder.
        stamp: The result of `file_stamp(files)` if known; computing it inspects every file.

    Returns:
        uint8 [N, size, size, 3].

    Raises:
        DataError: Images are unreadable or the disk is full. No partial file remains.
    """
    folder, stamp, whole = folder or default_folder(), stamp or file_stamp(files), files.whole
    name = f"{_prefix(whole)}-{size}px-{rule}-{_digest(whole)}.npy"
    origin = {"dataset": whole.name, "identity": whole.key, "root": str(whole.root), "rule": rule, "stamp": stamp}
    shape = (len(whole), size, size, 3)
    array = MappedArray(folder / name, f"{whole.name} at {size} px", shape, np.dtype(np.uint8), origin)
    return array.get(lambda: _blocks(whole, size, rule, folder, stamp))[files.rows.start : files.rows.stop]


def file_stamp(files: ImageFiles) -> str:
    """Returns a hash that changes with the path, size or time of any file of the whole data set or of its store.

    It processes about 200,000 files per second if the system has their metadata in memory.
    """
    digest = hashlib.sha256()
    for path in files.store.files if files.store else files.whole.paths:
        try:
            stat = os.stat(files.root / path)
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\0absent\n".encode())
    return digest.hexdigest()


def find_unreadable(files: ImageFiles, folder: Path | None = None, recheck: bool = False) -> dict[str, str]:
    """Returns the images of the whole data set that cannot be decoded, as a mapping from path to reason.

    The result is stored until a file changes; `recheck` decodes all images again.
    """
    whole, stamp = files.whole, file_stamp(files)
    path = _unreadable_file(whole, folder or default_folder())
    stored = json_files.read(path)
    if stored.get("stamp") == stamp and not recheck:
        return dict(stored["unreadable"])
    unreadable: dict[str, str] = {}
    for _, reasons in _decoded_chunks(whole, None, "stretch", f"checking {whole.name}"):
        unreadable |= reasons
    _store_unreadable(path, stamp, unreadable)
    return unreadable


def _prefix(files: ImageFiles) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", files.name).strip("-")[:60]


def _digest(files: ImageFiles) -> str:
    return hashlib.sha256(f"{files.key}\0{files.root.resolve()}".encode()).hexdigest()[:12]


def _unreadable_file(files: ImageFiles, folder: Path) -> Path:
    return folder / f"{_prefix(files)}-{_digest(files)}.unreadable.json"


def _store_unreadable(path: Path, stamp: str, unreadable: dict[str, str]) -> None:
    prepare(path.parent)
    json_files.write(path, {"stamp": stamp, "unreadable": unreadable})


def _blocks(files: ImageFiles, size: int, rule: ResizeRule, folder: Path, stamp: str) -> Iterator[Array]:
    """Yields the decoded images in order. At the end, raises DataError if images were unreadable."""
    unreadable: dict[str, str] = {}
    for images, reasons in _decoded_chunks(files, size, rule, f"decoding {files.name}"):
        unreadable |= reasons
        yield images
    _store_unreadable(_unreadable_file(files, folder), stamp, unreadable)
    if unreadable:
        count = f"{len(unreadable)} unreadable image{'s' if len(unreadable) > 1 else ''}"
        raise DataError(
            f"{files.name}: {count}: {shortened(unreadable.values(), '; ')}\n"
            "repair them (`bench data verify` lists all) or exclude them with --skip-corrupt"
        )


def _decoded_chunks(
    files: ImageFiles, size: int | None, rule: ResizeRule, description: str
) -> Iterator[tuple[Array, dict[str, str]]]:
    """Yields uint8 [n, size, size, 3] in order, black for unreadable images, and the reasons for these.

    Decodes in threads, since decoding releases the interpreter lock. Without a size, images are decoded but not kept.
    """
    starts = range(0, len(files), CHUNK)
    with ThreadPoolExecutor(_processors()) as pool, progress_bar(description, len(files)) as show:
        try:
            for start, result in zip(starts, pool.map(partial(_chunk, files, size, rule), starts), strict=True):
                show(min(start + CHUNK, len(files)))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)  # so that an interruption does not wait for the remaining chunks


def _chunk(files: ImageFiles, size: int | None, rule: ResizeRule, start: int) -> tuple[Array, dict[str, str]]:
    rows = range(start, min(start + CHUNK, len(files)))
    images = np.zeros((len(rows), size or 0, size or 0, 3), np.uint8)
    unreadable = {}
    for i, row in enumerate(rows):
        try:
            image = decode(files.path(row), size, rule, files.store)
        except DataError as error:
            unreadable[str(files.path(row).relative_to(files.root))] = str(error)
        else:
            if size:
                images[i] = image
    return images, unreadable


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
