"""The drivers at work in a directory of runs: the locks on their runs, and the progress each one reports."""

import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fedprompt.benchmark.runs.locks import Lock, Locks

FOLDER = ".live"
"""The folder of the locks, within a directory of runs."""
DRIVER = "driver-"
"""Prefix of the locks that belong to a driver instead of a run."""
REPORT_EVERY = 2.0  # seconds


class DriverStatus:
    """Announces this process as a driver in a directory of runs, while used as a context.

    The driver holds the locks of its runs, and one of its own, beside which it regularly writes what `describe`
    returns. All are released when the context ends.
    """

    def __init__(self, directory: Path, describe: Callable[[], dict[str, Any]]) -> None:
        self.locks, self.describe = Locks(directory / FOLDER), describe
        self.name = f"{DRIVER}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._report_regularly, daemon=True)

    def __enter__(self) -> Locks:
        self.locks.delete_abandoned()
        self.thread.start()
        return self.locks

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self.locks.release_all()

    def _report_regularly(self) -> None:
        while not self.stop.wait(REPORT_EVERY):
            with suppress(OSError):  # a full disk: the sweep itself ends once a record cannot be written
                self.locks.acquire(self.name, progress=self.describe())


def active_drivers(directory: Path) -> dict[str, dict[str, Any]]:
    """Returns the last reported progress of each running driver of a directory, by HOST:PID."""
    locks = [lock for lock in Locks(directory / FOLDER).all() if lock.name.startswith(DRIVER) and lock.held]
    return {lock.driver: progress for lock in locks if isinstance(progress := lock.info.get("progress"), dict)}


def run_locks(directory: Path) -> list[Lock]:
    """Returns the locks on the runs of a directory, held or abandoned."""
    return [lock for lock in Locks(directory / FOLDER).all() if not lock.name.startswith(DRIVER)]
