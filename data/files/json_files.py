"""Small JSON files: lenient reads, atomic writes."""

import json
from pathlib import Path
from typing import Any

from fedprompt.data.files.atomic import atomic_write


def read(path: Path) -> dict[str, Any]:
    """Returns the mapping in a JSON file, or an empty one if the file is missing or invalid."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write(path: Path, content: dict[str, Any]) -> None:
    """Replaces a JSON file atomically. Raises OSError if it cannot be written."""
    atomic_write(path, json.dumps(content))
