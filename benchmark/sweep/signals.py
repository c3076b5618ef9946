"""Ctrl-C and SIGTERM, deferred while finished runs are being written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fedprompt.benchmark.errors import Terminated


class Signals:
    """Turns both signals into exceptions, while used as a context in the main thread.

    Within `interruptible` the exception is raised at once, elsewhere by the next `check`.
    """

    def __init__(self) -> None:
        self.pending: BaseException | None = None
        self.interrupting = False
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # shells ignore SIGINT for background processes
                    self.handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises `KeyboardInterrupt` or `Terminated` if a signal has arrived."""
        if self.pending is not None:
            raise self.pending

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Lets a signal interrupt the body."""
        self.interrupting = True
        try:
            self.check()
            yield
        finally:
            self.interrupting = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.pending = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if self.interrupting:
            self.interrupting = False
            raise self.pending
