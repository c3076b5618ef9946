"""What is under way in a directory of runs: the drivers' claims and progress files, in a folder that goes with them."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedprompt.benchmark.runs.locks import SILENCE, Owner, RunLocks, this_driver

FOLDER = ".live"
BEAT = 2.0
"""Seconds between two signs of life."""


class DriverStatus:
    """A driver's presence in a directory, as a context: claims on its runs, and word of how far it has come.

    `describe` says the latter, as JSON takes it.
    """

    def __init__(self, directory: Path, describe: Callable[[], dict[str, Any]]) -> None:
        self.folder, self.describe = directory / FOLDER, describe
        self.claims, self.owner = RunLocks(self.folder), this_driver()
        self.file = self.folder / f"{self.owner.host}-{self.owner.pid}.json"
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> RunLocks:
        for driver, path in _drivers(self.folder):
            if driver.lives is False:
                path.unlink(missing_ok=True)
                path.with_suffix(".tmp").unlink(missing_ok=True)
        self.claims.clear()
        self.thread.start()
        return self.claims

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        for run_id in list(self.claims.held):
            self.claims.release(run_id)
        self.file.unlink(missing_ok=True)
        with suppress(OSError):  # another driver's files are there still, or there never was a folder
            self.folder.rmdir()

    def _loop(self) -> None:
        while not self.over.wait(BEAT):
            self.claims.beat()
            self._tell()

    def _tell(self) -> None:
        unfinished = self.file.with_suffix(".tmp")
        content = {"owner": asdict(self.owner), "time": time.time(), **self.describe()}
        try:
            self.folder.mkdir(exist_ok=True)
            unfinished.write_text(json.dumps(content), encoding="utf-8")
            os.replace(unfinished, self.file)
        except OSError:  # on a full disk it is the records that tell: without one of them the sweep ends
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


@dataclass(frozen=True)
class DriverProgress:
    """How far a driver has come, as it last said."""

    owner: Owner
    content: dict[str, Any]


def under_way(directory: Path) -> list[DriverProgress]:
    """The living drivers of a directory, by what they last said of themselves."""
    found = []
    for owner, path in _drivers(directory / FOLDER):
        with suppress(OSError, ValueError):  # it has just ended
            content = json.loads(path.read_text(encoding="utf-8"))
            fresh = abs(time.time() - float(content.get("time", 0))) < SILENCE
            if fresh if owner.lives is None else owner.lives:
                found.append(DriverProgress(owner, content))
    return found


def _drivers(folder: Path) -> Iterator[tuple[Owner, Path]]:
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):  # not a driver's, or gone this moment
            yield Owner(**json.loads(path.read_text(encoding="utf-8"))["owner"]), path
