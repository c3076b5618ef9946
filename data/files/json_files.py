"""JSON files: reads within limits, atomic writes."""

import json
from pathlib import Path
from typing import Any

from fedprompt.data.files.atomic import atomic_write
from fedprompt.data.files.limits import MAX_JSON_BYTES, read_bounded


def load(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, or too large.
    """
    return parse(read_bounded(path, MAX_JSON_BYTES).decode())


def parse(text: str) -> Any:
    """Returns the value of a JSON text. Raises ValueError if it is not JSON or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read(path: Path) -> dict[str, Any]:
    """Returns the mapping in a JSON file, or an empty one if the file is missing or invalid."""
    try:
        content = load(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write(path: Path, content: dict[str, Any]) -> None:
    """Replaces a JSON file atomically. Raises OSError if it cannot be written."""
    atomic_write(path, json.dumps(content))
