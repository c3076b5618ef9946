"""Finds removable files in a directory of runs, and deletes them on request."""

import shutil
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.checkpoint_files import UNUSABLE
from fedprompt.benchmark.runs.driver_status import FOLDER, run_locks
from fedprompt.benchmark.runs.locks import Locks
from fedprompt.benchmark.runs.store import TEMPORARY, Entry, Store, process_exists
from fedprompt.data.errors import reason


@dataclass(frozen=True)
class Removable:
    """A file or directory that may be deleted, why, and for a run's directory the version of its record."""

    path: Path
    why: str
    version: tuple[int, int] | None = None

    @property
    def bytes(self) -> int:
        """Its size."""
        files = self.path.rglob("*") if self.path.is_dir() and not self.path.is_symlink() else [self.path]
        return sum(file.lstat().st_size for file in files)


def find(
    directory: Path,
    *,
    failed: bool = True,
    unfinished: bool = False,
    grid: Collection[str] | None = None,
    commit: str | None = None,
    unreadable: Callable[[ConfigError], object] | None = None,
) -> list[Removable]:
    """Lists what may be deleted. Locked runs, and files that a process is writing, are left out.

    Args:
        directory: The directory of runs.
        failed: Whether to include failed runs.
        unfinished: Whether to include interrupted runs, which the same sweep would resume.
        grid: If given, include the runs that are not among these run ids.
        commit: If given, include the runs made by another commit.
        unreadable: Called for each invalid record, whose run is then left out.

    Raises:
        ConfigError: Without `unreadable`, a record is invalid.
    """
    store = Store(directory)
    versions = {path.name: store.version(path.name) for path in directory.glob("*")}  # read before the records
    entries = {entry.run_id: entry for entry in store.entries(unreadable=unreadable)}
    held = [lock for lock in run_locks(directory) if lock.held]
    locked, drivers = {lock.name for lock in held}, {lock.driver for lock in held}
    found = [
        Removable(path, "left behind by an interrupted write")
        for path, host, pid in store.temporary_folders()
        if f"{host}:{pid}" not in drivers and not (host == socket.gethostname() and process_exists(pid))
    ]
    for path in sorted(directory.iterdir()):
        if path.name.startswith(TEMPORARY) or path.name in locked or path.is_symlink() or not path.is_dir():
            continue
        if entry := entries.get(path.name):
            if why := _reason_to_delete(entry, failed, grid, commit):
                found.append(Removable(path, why, versions.get(path.name)))
        elif versions.get(path.name):
            continue  # an invalid record
        elif unfinished and list(path.glob("*checkpoint*")):
            found.append(Removable(path, "interrupted; the same sweep would resume it"))
        elif (path / UNUSABLE).exists():
            found.append(Removable(path / UNUSABLE, "unusable checkpoint"))
    return found


def _reason_to_delete(entry: Entry, failed: bool, grid: Collection[str] | None, commit: str | None) -> str | None:
    made_by = entry.result.get("environment", {}).get("git_commit", "")
    if failed and entry.status == "failed":
        return f"failed: {entry.result.get('error')}"
    if grid is not None and entry.run_id not in grid:
        return f"not in the grid: {entry.result['method']}, seed {entry.result['seed']}"
    if commit is not None and made_by != commit:
        return f"made by commit {made_by or 'unknown'}, not {commit or 'unknown'}"
    return None


def delete(removable: Removable) -> bool:
    """Deletes a file or directory.

    Returns:
        Whether it was deleted. False if a sweep has locked or replaced the run since it was found.

    Raises:
        ConfigError: It cannot be deleted.
    """
    store, run_id = Store(removable.path.parent), removable.path.name
    if run_id.startswith(TEMPORARY) or run_id == UNUSABLE:
        _delete(removable.path)
        return True
    locks = Locks(store.directory / FOLDER)
    if not locks.acquire(run_id, run="bench prune"):
        return False
    try:
        unchanged = store.version(run_id) == removable.version
        if unchanged:
            _delete(removable.path)
        return unchanged
    finally:
        locks.release(run_id)


def _delete(path: Path) -> None:
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be deleted: {reason(error)}.") from error
