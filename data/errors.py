"""The error type of the data package, and helpers for its messages."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

SHOWN = 3  # items that a message lists


class DataError(ValueError):
    """A data set, partition or federation is invalid or unavailable. The message names the fault and a remedy."""


def unknown(what: str, name: str, available: Iterable[str]) -> DataError:
    """Returns the error for a `name` that is not `available`, with the closest match in any case as a suggestion."""
    choices = sorted(available)
    folded = {choice.casefold(): choice for choice in choices}
    near = get_close_matches(name.casefold(), folded, n=1)
    hint = f" did you mean {folded[near[0]]!r}?" if near else ""
    return DataError(f"unknown {what} {name!r};{hint} available: {', '.join(choices)}")


def reason(error: OSError) -> str:
    """Returns the text of a system error in lower case, such as "no space left on device"."""
    return (error.strerror or str(error)).lower()


def shortened(items: Collection[str], separator: str = ", ") -> str:
    """Returns the first items as text, followed by "..." if there are more."""
    return separator.join([*list(items)[:SHOWN], *(["..."] if len(items) > SHOWN else [])])
