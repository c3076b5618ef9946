"""Text of unknown origin: escaped and bounded before it is stored or printed."""

import re
from functools import lru_cache
from types import NoneType
from typing import Any

MAX_MESSAGE = 4_000
"""Characters of a message: an error, or a line on a terminal."""
MAX_LOG = 200_000
"""Characters of a run's log."""
SHORT = 200
"""Characters of a text that is worth remembering."""
_NUMBERS = frozenset({float, int, bool, NoneType})
_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_INVISIBLE = r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # they reorder or split a line
_SURROGATES = r"\ud800-\udfff"  # what is left of bytes that are not UTF-8; no encoding has them
_UNSAFE = re.compile(f"[{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_UNSAFE_IN_A_LINE = re.compile(rf"[\t\n{_CONTROLS}{_INVISIBLE}{_SURROGATES}]")
_LONG = re.compile(f'"[^"]{{{MAX_MESSAGE + 1}}}')
_FORMULA = re.compile(r"\s*[=+\-@]")


def escaped(text: str, lines: bool = False) -> str:
    r"""The text with control characters, invisible ones and surrogates as Python writes them, such as `\x1b`.

    A terminal would execute them, and no file can hold surrogates. `lines` keeps line breaks and tabs.
    """
    if text.isprintable():  # the usual case, and fast
        return text
    return (_UNSAFE if lines else _UNSAFE_IN_A_LINE).sub(lambda found: _code(found[0]), text)


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def safe_texts(value: Any) -> Any:
    """The value with all texts and keys inside lists and mappings escaped and bounded."""
    if isinstance(value, str):
        return _safe(value) if len(value) <= SHORT else escaped(bounded(value))
    if isinstance(value, dict):
        return {
            _safe(key) if type(key) is str and len(key) <= SHORT else safe_texts(key): (
                inner if type(inner) in _NUMBERS else safe_texts(inner)  # most values of a record are numbers
            )
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [inner if type(inner) in _NUMBERS else safe_texts(inner) for inner in value]
    return value


def has_safe_texts(json_text: str) -> bool:
    """Whether `safe_texts` changes nothing in this JSON, as all its texts are printable ASCII and short.

    May be false for others, too. Most records are so, and this is faster than to look at each of their texts.
    """
    plain = json_text.isascii() and "\\" not in json_text and "\x7f" not in json_text  # no other control characters
    return plain and not _LONG.search(json_text)


@lru_cache(maxsize=10_000)
def _safe(text: str) -> str:
    """The short text, escaped; one object for equal texts, which would otherwise fill the memory."""
    return escaped(text)


def bounded(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text itself, or its beginning and end with the number of characters left out between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters left out) ... {text[len(text) - half :]}"


def one_line(error: BaseException) -> str:
    """An error in one line that can be stored and printed: its type and the first line of its message."""
    try:
        message = str(error).strip()
    except Exception:  # the error's own method may raise anything
        message = "its message cannot be read"
    name, lines = type(error).__name__, message.splitlines()
    return escaped(bounded(f"{name}: {lines[0]}" if lines else name))


def for_spreadsheet(value: Any) -> Any:
    """A cell of a CSV file: text that a spreadsheet would execute as a formula gets an apostrophe before it."""
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
