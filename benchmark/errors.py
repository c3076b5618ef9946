"""Exceptions of the benchmark package, and the parts of messages that they share."""

import difflib
import signal
from collections.abc import Iterable


class ConfigError(ValueError):
    """An option, file or directory is wrong. The message names the value, the limit and the remedy."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received: batch systems send the one before they kill a process, terminals the other."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `" (did you mean 'x'?)"` for the known name closest to `name` in any case, or an empty string."""
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
