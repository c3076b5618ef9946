"""Atomic file writes."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


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
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
