"""JSON files: reads within limits, atomic writes."""

import json
from pathlib import Path
from typing import Any

from fedprompt.data.files.atomic import atomic_write
from fedprompt.data.files.limits import MAX_JSON_BYTES, MAX_JSON_DEPTH, read_bounded


def load(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not JSON, or is larger or nested deeper than the limits; the message completes "FILE: ...".
    """
    return parse(read_bounded(path, MAX_JSON_BYTES).decode())


def parse(text: str) -> Any:
    """Returns the value of a JSON text. Raises ValueError if it is not JSON or nested too deeply."""
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep") from error
    # Only a text with so many brackets can be too deep. Most records have fewer, which spares a pass over them.
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH:
        _check_depth(content)
    return content


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(MAX_JSON_DEPTH):
        containers = [value for value in level if isinstance(value, dict | list)]
        level = [inner for value in containers for inner in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    if any(isinstance(value, dict | list) for value in level):
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep")


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
