"""Atomic writes, CSV, YAML files, and the text of an operating-system error."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedprompt.results.text import for_spreadsheet

if TYPE_CHECKING:
    import pandas as pd


def atomic_write(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Writes a file completely or not at all: under a temporary name in the same folder, then renamed.

    `content` is text (written as UTF-8), bytes, or a function that writes the file at the path it is given. Raises
    OSError if the file cannot be written; an existing file is then unchanged.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def csv(frame: "pd.DataFrame") -> str:
    """The frame without its index as CSV, in which a spreadsheet executes no cell and no heading."""
    texts = frame.select_dtypes(exclude=["number", "bool"])
    safe = frame.assign(**{str(name): texts[name].map(for_spreadsheet) for name in texts})
    return safe.rename(columns=for_spreadsheet).to_csv(index=False)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: It is not YAML; the message names the line, as `line 3: expected ',' or ']', but got ':'`.
        OSError: It cannot be read.
    """
    import yaml

    content = path.read_bytes()
    try:
        return yaml.safe_load(content.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"line {_line(content[: error.start].decode())}: not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        raise ValueError(f"line {_line(content.decode()[: error.position])}: {str(error).splitlines()[0]}") from error


def _line(text_before: str) -> int:
    """The number, from 1, of the line that follows this text."""
    return text_before.count("\n") + 1


def reason(error: OSError) -> str:
    """The cause of an OSError in lower case, as `no space left on device`."""
    return (error.strerror or str(error)).lower()
