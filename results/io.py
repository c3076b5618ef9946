"""Atomic writes, CSV, JSON and YAML files within limits, and the text of an operating-system error."""

import json
import os
import stat
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedprompt.results.text import for_spreadsheet

if TYPE_CHECKING:
    import pandas as pd

MAX_JSON_BYTES = 256 * 2**20  # the largest records have a matrix of classes by classes; those of 1,203 have 30 MB
MAX_JSON_DEPTH = 100  # JSON that is nested deeper could be read, but not always hashed, compared or written again
MAX_YAML_BYTES = 4 * 2**20  # `bench tune` writes 0.1 KB per trial


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


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes.

    `results` and `data` do not import each other, so `fedprompt.data.files.limits` has the same function.

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


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: It is not JSON, or larger or nested deeper than the limits.
        OSError: It cannot be read.
    """
    return parse_json(read_bounded(path, MAX_JSON_BYTES))


def parse_json(content: bytes) -> Any:
    """The value of a JSON text. Raises ValueError if it is not JSON, or larger or nested deeper than the limits."""
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"it has {len(content):,} bytes, at most {MAX_JSON_BYTES:,} are read")
    text = content.decode()
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep") from error
    # Only a text with so many brackets can be too deep. Most records have fewer, which spares a pass over them.
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _is_deeper(value, MAX_JSON_DEPTH):
        raise ValueError(f"it is nested more than {MAX_JSON_DEPTH} levels deep")
    return value


def _is_deeper(content: Any, levels: int) -> bool:
    values = [content]
    for _ in range(levels + 1):
        containers = [
            value.values() if type(value) is dict else value for value in values if type(value) in (dict, list)
        ]
        if not containers:
            return False
        values = list(chain.from_iterable(containers))
    return True


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: It is not YAML, or exceeds a limit; the message names the line, as `line 3: expected ',' or ']', but
            got ':'`.
        OSError: It cannot be read.
    """
    import yaml

    from fedprompt.results.bounded_yaml import load

    content = read_bounded(path, MAX_YAML_BYTES)
    try:
        return load(content.decode())
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
