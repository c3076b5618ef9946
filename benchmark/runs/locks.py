"""Locks on runs, so that several drivers can share one directory.

A driver that works on a run holds an exclusive `flock` on `RUN_ID.lock`. The operating system releases it when the
process ends, even by SIGKILL, so another driver can take the run over at once. A copied directory holds no locks.
`RUN_ID.json` beside the lock file says which driver holds it; it is only informative.

Limits on network file systems: drivers on several machines need one that passes `flock` between machines. NFSv4 does;
after a machine crashes, its locks are released when their lease expires (usually 90 s). NFSv3 needs a running lock
manager, Lustre the mount option `flock`. Where `flock` only works locally, two machines may compute the same run; the
first record written is kept.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fedprompt.data.files import json_files


@dataclass(frozen=True)
class Lock:
    """A lock as found on disk: its name, what its driver wrote beside it, and whether a process holds it."""

    name: str
    info: dict[str, Any]
    held: bool

    @property
    def driver(self) -> str:
        """The driver that last held the lock, as HOST:PID."""
        return f"{self.info.get('host')}:{self.info.get('pid')}"


class Locks:
    """The locks in one folder. The folder exists only while it holds locks.

    Attributes:
        held: The locks that this object holds, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.held = folder, dict[str, FileLock]()

    def acquire(self, name: str, **info: object) -> bool:
        """Acquires a lock without waiting, and writes `info` beside it.

        Acquiring a lock that this object holds only replaces the `info`.

        Returns:
            Whether this object now holds the lock.

        Raises:
            OSError: The lock cannot be written, for example because the disk is full. It is then not held.
        """
        if name not in self.held:
            lock = self._try_lock(name)
            if lock is None:
                return False
            self.held[name] = lock
        try:
            json_files.write(self._info(name), {"host": socket.gethostname(), "pid": os.getpid(), **info})
        except OSError:
            self.release(name)
            raise
        return True

    def release(self, name: str) -> None:
        """Releases a lock that this object holds, and deletes its files."""
        self._delete(name, self.held.pop(name))

    def release_all(self) -> None:
        """Releases every lock that this object holds."""
        for name in list(self.held):
            self.release(name)

    def delete_abandoned(self) -> None:
        """Deletes the files of locks that no process holds, left by drivers that were killed."""
        for path in self.folder.glob("*.lock"):
            with suppress(OSError):
                if lock := self._try_lock(path.stem):
                    self._delete(path.stem, lock)

    def get(self, name: str) -> Lock | None:
        """Returns the lock of that name, or None if there is none."""
        held = self._is_held(name)
        return Lock(name, json_files.read(self._info(name)), held) if self._file(name).exists() else None

    def all(self) -> Iterator[Lock]:
        """Yields every lock in the folder, held or abandoned, in the order of their names."""
        for path in sorted(self.folder.glob("*.lock")):
            if lock := self.get(path.stem):
                yield lock

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.lock"

    def _info(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _try_lock(self, name: str) -> FileLock | None:
        if not self.folder.parent.is_dir():  # deleted meanwhile; FileLock would create it again
            return None
        lock = FileLock(self._file(name), thread_local=False)
        try:
            lock.acquire(blocking=False)
        except (Timeout, FileNotFoundError):  # not found: another driver has just deleted the empty folder
            return None
        return lock

    def _delete(self, name: str, lock: FileLock) -> None:
        """Deletes the files of a lock while holding it: whoever has the old file open then fails to acquire it.

        Files that a network file system does not delete stay as those of an abandoned lock.
        """
        with suppress(OSError):
            for path in self.folder.glob(f".{name}.json.*"):  # of a write that was interrupted
                path.unlink(missing_ok=True)
        for path in (self._info(name), self._file(name)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # other locks are in the folder
            self.folder.rmdir()

    def _is_held(self, name: str) -> bool:
        """Whether a process holds a lock, this one included; True as well where that cannot be determined."""
        if not self._file(name).exists():
            return False
        try:
            lock = self._try_lock(name)
        except OSError:  # the folder is read-only
            return True
        if lock is None:
            return True
        if self._info(name).exists():
            lock.release()
        else:  # the driver has released it since, and this look has created the file again
            self._delete(name, lock)
        return False
