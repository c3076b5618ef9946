"""Atomic file writes."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PASSING = (errno.ESTALE, errno.EBUSY)
"""Errors of network file systems that pass: a handle that another machine has replaced, a server that is busy."""
WAITS = (0.05, 0.2, 0.5, 1.0)  # seconds before a rename is tried again


def rename(source: Path, target: Path) -> None:
    """Renames a file or folder as `os.replace` does; tries again for two seconds after an error of `PASSING`."""
    for wait in WAITS:
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno not in PASSING:
                raise
        else:
            return
        time.sleep(wait)
        if os.path.lexists(target) and not os.path.lexists(source):  # it succeeded, and only the reply was lost
            return
    os.replace(source, target)


def atomic_write(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Creates or replaces a file; readers see either the old file or the complete new one.

    Args:
        path: The file. Its folder must exist; the content is first written to a temporary file there.
        content: Text (stored as UTF-8), bytes, or a function that writes to the temporary path it receives. That path
            has a different suffix, so libraries that derive the format from the suffix need it as an argument.

    Raises:
        OSError: The file cannot be written. `path` is then unchanged and the temporary file is deleted.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if isinstance(content, str):
            temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        elif isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            content(temporary)
        rename(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
