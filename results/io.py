"""Atomic writes, and the text of an operating-system error."""

import os
from collections.abc import Callable
from pathlib import Path


def atomic_write(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Writes a file completely or not at all: under a temporary name in the same folder, then renamed.

    Args:
        path: the file to write; its folder must exist.
        content: text (written as UTF-8), bytes, or a function that writes the file at the path it is given.

    Raises:
        OSError: the file cannot be written; an existing file is then unchanged.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """The cause of an OSError in lower case, as `no space left on device`."""
    return (error.strerror or str(error)).lower()
