"""Limits on what is read from files: a small file must not fill the memory or the disk."""

import stat
from pathlib import Path

MAX_JSON_BYTES = 256 * 2**20  # the partition of a million samples has 8 MB
MAX_UNPACKED_PER_BYTE = 100  # of an archive; text seldom exceeds 10, images 1.1
MIN_UNPACKED_LIMIT = 64 * 2**20  # for small archives, which may compress better
MAX_CLASSES = 25_000  # assigning samples needs a float per pair of classes: 2.5 GB; ImageNet-21k has 21,841


def read_bounded(path: Path, most: int) -> bytes:
    """Returns the content of a file of at most `most` bytes.

    `data` and `results` do not import each other, so `fedprompt.results.io` has the same function.

    Raises:
        OSError: It cannot be read, or is a pipe or device, which need not end.
        ValueError: It is larger.
    """
    state = path.stat()
    if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        raise OSError("not a regular file")
    if stat.S_ISREG(state.st_mode) and state.st_size > most:
        raise ValueError(f"it has {state.st_size:,} bytes, at most {most:,} are read")
    return path.read_bytes()
