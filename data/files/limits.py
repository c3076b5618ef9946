"""Limits on what is read from files: a small file must not fill the memory or the disk."""

import errno
import os
import stat
from pathlib import Path

MAX_JSON_BYTES = 256 * 2**20  # the largest records have a matrix of classes by classes; those of 1,203 have 30 MB
MAX_JSON_DEPTH = 100  # JSON that is nested deeper could be read, but not written, hashed or compared
MAX_UNPACKED_PER_BYTE = 100  # of an archive; text seldom exceeds 10, images 1.1
MIN_UNPACKED_LIMIT = 64 * 2**20  # for small archives, which may compress better
MAX_CLASSES = 25_000  # exchanging samples needs a float per pair of classes: 2.5 GB; ImageNet-21k has 21,841


def read_bounded(path: Path, most: int) -> bytes:
    """Returns the content of a regular file, of at most `most` bytes.

    Raises:
        OSError: It cannot be read, or is no regular file (reading a pipe would wait for ever).
        ValueError: It is larger.
    """
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if state.st_size > most:
        raise ValueError(f"it has {state.st_size:,} bytes, at most {most:,} are read")
    with path.open("rb") as file:
        return file.read(most)
