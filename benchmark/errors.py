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


class RunError(RuntimeError):
    """A run has failed.

    Attributes:
        kind: The kind of the failure, as `error_kind` in records.
        log: What the run printed and logged, with the traceback of its error.
    """

    def __init__(self, message: str, kind: str, log: str) -> None:
        super().__init__(message)
        self.kind, self.log = kind, log


class Stopped(KeyboardInterrupt):
    """A callback has raised `error`. Like Ctrl-C, it ends a sweep in order, and no run counts as failed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `" (did you mean 'x'?)"` for the known name closest to `name` in any case, or an empty string."""
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
