"""SIGINT (Ctrl-C), SIGTERM and SIGHUP, which end `bench` in order, and after some seconds in any case."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

from fedprompt.benchmark.errors import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIME_LIMIT = 8.0  # seconds after a signal until the process ends, even if it hangs outside of Python


class Signals:
    """Turns the signals into exceptions, while used as a context in the main thread. Only the first one counts.

    Within `interruptible` the exception is raised at once, elsewhere by the next `check`. Contexts may be nested.
    """

    active: ClassVar["Signals | None"] = None

    def __init__(self, interrupting: bool = False) -> None:
        self.pending: BaseException | None = None
        self.interrupting, self.grace = interrupting, 0.0
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        self.outer, Signals.active = Signals.active, self
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as for background processes and by nohup
                    self.handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        Signals.active = self.outer
        if self.outer:
            self.outer.pending = self.outer.pending or self.pending
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if kind is None and self.outer:  # a signal during the last steps
            self.check()

    def check(self) -> None:
        """Raises `KeyboardInterrupt` or `Terminated` if a signal has arrived."""
        if self.pending is not None:
            raise self.pending

    @contextmanager
    def interruptible(self, grace: float = 0.0) -> Iterator[None]:
        """Lets a signal interrupt the body, `grace` seconds later, in which the body may end by itself."""
        self.interrupting, self.grace = True, grace
        try:
            self.check()
            yield
        finally:
            self.interrupting = False
            if grace and self.handlers:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pending is not None:  # it is already ending
            return
        self.pending = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
        if self.interrupting and self.grace:
            signal.signal(signal.SIGALRM, lambda *_: self._interrupt())
            signal.setitimer(signal.ITIMER_REAL, self.grace)
        else:
            self._interrupt()

    def _interrupt(self) -> None:
        if self.interrupting and self.pending is not None:
            self.interrupting = False
            raise self.pending


def renew_handlers() -> None:
    """Installs the present handlers again, because code other than Python may have replaced them."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.getsignal(number))


@contextmanager
def time_limit() -> Iterator[None]:
    """Ends the process with 128 + the number of a signal, if the body does not end soon after the signal.

    Python only handles signals between its own instructions, but writes their numbers into a pipe at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_end_after_signal, args=(reading,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def _end_after_signal(reading: int) -> None:
    with open(reading, "rb", buffering=0) as pipe:
        while number := pipe.read(1):
            if number[0] in SIGNALS:
                time.sleep(TIME_LIMIT)
                os._exit(128 + number[0])
