"""Who works on which run: a claim is a file that only one driver can create, kept fresh while its owner lives.

Whether an owner lives is never judged by the clock of a day: on the same machine its process is looked for, elsewhere
its claim must stay untouched for a while of the observer's own steady clock. A clock set back deceives nobody.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

SILENCE = 60.0
"""Seconds without a sign of life after which a driver that cannot be looked for is taken for dead."""


@dataclass(frozen=True)
class Owner:
    """A driver: its host and process. `place` is where its number means this process, `start` when that began."""

    host: str
    pid: int
    place: str
    start: str

    @property
    def lives(self) -> bool | None:
        """Whether the process is there; None where it cannot be looked for."""
        if self.place != _place():
            return None
        return _start(self.pid) == self.start and _exists(self.pid)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


def this_driver() -> Owner:
    """This process."""
    pid = os.getpid()
    return Owner(socket.gethostname(), pid, _place(), _start(pid))


@dataclass(frozen=True)
class RunLock:
    """A claim as it is found: the run, what it is called, the owner, and whether that one lives, as far as one look
    can tell."""

    run_id: str
    name: str
    owner: Owner
    lives: bool


class RunLocks:
    """The claims in one folder, as one driver sees them. `held` are its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.owner, self.held = folder, this_driver(), set[str]()
        self.heard: dict[str, tuple[tuple[int, int], float]] = {}

    def take(self, run_id: str, name: str = "") -> bool:
        """RunLocks a run, from a dead owner too; False where a living one has it. Raises `OSError` on a full disk."""
        path = self._path(run_id)
        if not self._create(path, name) and not (self._removed(path, run_id) and self._create(path, name)):
            return False
        self.held.add(run_id)
        return True

    def release(self, run_id: str) -> None:
        """Gives a run back; leaves alone what another has taken over."""
        self.held.discard(run_id)
        path = self._path(run_id)
        found = _read(path)
        if found and found[1] == self.owner:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes what dead owners have left, of runs that had just been written too."""
        for path in self.folder.glob("*.claim"):
            self._removed(path, path.stem)

    def beat(self) -> None:
        """A sign of life on every claim held."""
        for run_id in list(self.held):
            with suppress(FileNotFoundError):  # taken over while this process was held up; the first to write counts
                os.utime(self._path(run_id))

    def of(self, run_id: str) -> RunLock | None:
        """The claim on a run, whoever's."""
        path = self._path(run_id)
        if (found := _read(path)) is None:
            return None
        name, owner, inode = found
        try:
            state = path.stat()
        except FileNotFoundError:
            return None
        lives = owner.lives if inode == state.st_ino else None
        return RunLock(run_id, name, owner, abs(time.time() - state.st_mtime) < SILENCE if lives is None else lives)

    def all(self) -> Iterator[RunLock]:
        """Every claim that can be read."""
        for path in sorted(self.folder.glob("*.claim")):
            if claim := self.of(path.stem):
                yield claim

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.claim"

    def _create(self, path: Path, name: str) -> bool:
        self.folder.mkdir(exist_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        except FileNotFoundError:  # another driver has just ended and removed the folder
            return self._create(path, name)
        try:
            content = asdict(self.owner) | {"name": name, "inode": os.fstat(handle).st_ino}
            os.write(handle, json.dumps(content).encode())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return True

    def _removed(self, path: Path, run_id: str) -> bool:
        """Removes a claim whose owner is dead; of several drivers that find it so, one does."""
        try:
            with path.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                state = os.fstat(file.fileno())
                if path.stat().st_ino != state.st_ino:  # another has removed it, and a third made a new one
                    return False
                if not self._abandoned(_parsed(file.read()), state, run_id):
                    return False
                path.unlink()
        except FileNotFoundError:
            pass  # given back this moment
        return True

    def _abandoned(self, found: tuple[str, Owner, int] | None, state: os.stat_result, run_id: str) -> bool:
        copied = found is not None and found[2] != state.st_ino  # with its directory, from where the owner still works
        lives = None if found is None or copied else found[1].lives
        if lives is not None:
            return not lives
        sign = (state.st_ino, state.st_mtime_ns)
        known, since = self.heard.get(run_id, (None, 0.0))
        if known != sign:
            self.heard[run_id] = (sign, time.monotonic())
            return False
        return time.monotonic() - since > SILENCE


def _read(path: Path) -> tuple[str, Owner, int] | None:
    try:
        return _parsed(path.read_bytes())
    except FileNotFoundError:
        return None


def _parsed(content: bytes) -> tuple[str, Owner, int] | None:
    """A claim's name, owner and file number; None while it is being written, or was never finished."""
    try:
        found = json.loads(content)
        return found["name"], Owner(*(found[key] for key in ("host", "pid", "place", "start"))), found["inode"]
    except (ValueError, KeyError, TypeError):
        return None


@lru_cache(maxsize=1)
def _place() -> str:
    """Where a process number says which process: the host since it was started, and the container in it."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # not Linux: the host's name alone
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _start(pid: int) -> str:
    """When a process began, in ticks since the machine was started; empty where there is none, or no telling."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # one that is dead, though nobody has asked how it ended


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
