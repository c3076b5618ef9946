"""Ctrl-C and SIGTERM, held back while what has finished is written down."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fedprompt.benchmark.errors import Terminated


class Signals:
    """The two signals as exceptions, in the main thread and as a context: at once within `open`, else at `check`."""

    def __init__(self) -> None:
        self.caught: BaseException | None = None
        self.opened = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell does for what runs in the background
                    self.before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises `KeyboardInterrupt` or `Terminated` where a signal has come since."""
        if self.caught is not None:
            raise self.caught

    @contextmanager
    def open(self) -> Iterator[None]:
        """Lets a signal interrupt what is inside."""
        self.opened = True
        try:
            self.check()
            yield
        finally:
            self.opened = False

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        if self.opened:
            self.opened = False
            raise self.caught
