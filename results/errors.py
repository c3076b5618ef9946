"""What goes wrong when results are read or shown."""

import difflib
from collections.abc import Iterable


class RecordError(ValueError):
    """Records that cannot be read, or a table or figure that cannot be made of them."""


class MissingDataError(RecordError):
    """Records that lack what one figure shows, while others can be drawn."""


def unknown(kind: str, name: str, known: Iterable[str]) -> RecordError:
    """The error for a `name` that is not among the `known` ones, with the nearest of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return RecordError(f"unknown {kind} {name!r}: {hint}available: {', '.join(known)}")
