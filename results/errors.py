"""Errors of reading records and of making tables, figures and reports from them."""

import difflib
from collections.abc import Iterable


class RecordError(ValueError):
    """Records cannot be read, or a table or figure cannot be made from them."""


class MissingDataError(RecordError):
    """Records lack the data of one figure; other figures can be drawn."""


def unknown(kind: str, name: str, known: Iterable[str]) -> RecordError:
    """The error for an unknown `name`: it suggests the closest known name in any case and lists all of them."""
    known = sorted(known)
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    hint = f"did you mean {folded[close[0]]!r}? " if close else ""
    return RecordError(f"unknown {kind} {name!r}: {hint}available: {', '.join(known)}")


def check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises `unknown` for the first of `names` that is not in `known`."""
    known = list(known)
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)
