"""The drivers at work in a directory of runs: the locks on their runs, and the progress each one reports."""

import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat, ValidationError

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


class RunningRun(BaseModel):
    """A run at work and the rounds it has completed, as `bench status` shows it."""

    run_id: str
    name: str
    round: int
    rounds: int
    worker: str


class Progress(BaseModel):
    """What a driver reports of its sweep: `sweep.progress.ConsoleProgress.describe` writes it."""

    runs: int
    finished: int
    failed: int
    images_per_second: FiniteFloat
    seconds_left: FiniteFloat | None
    running: list[RunningRun]


def active_drivers(directory: Path) -> dict[str, dict[str, Any]]:
    """Returns the last reported progress of each running driver of a directory, by HOST:PID.

    A driver that has not reported yet, or whose report is something else, is left out.
    """
    found = {}
    for lock in Locks(directory / FOLDER).all():
        if lock.name.startswith(DRIVER) and lock.held:
            with suppress(ValidationError):
                found[lock.driver] = Progress.model_validate(lock.info.get("progress"), strict=True).model_dump()
    return found


def run_locks(directory: Path) -> list[Lock]:
    """Returns the locks on the runs of a directory, held or abandoned."""
    return [lock for lock in Locks(directory / FOLDER).all() if not lock.name.startswith(DRIVER)]
