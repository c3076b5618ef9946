"""What of a directory of runs may go: found first, and deleted only when that was said."""

import shutil
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.checkpoint_files import ASIDE
from fedprompt.benchmark.runs.driver_status import FOLDER
from fedprompt.benchmark.runs.locks import RunLocks
from fedprompt.benchmark.runs.store import UNFINISHED, Store, alive


@dataclass(frozen=True)
class Waste:
    """A file or a directory, and why it may go; of a run's directory, which record was found in it."""

    path: Path
    why: str
    stamp: tuple[int, int] | None = None

    @property
    def bytes(self) -> int:
        """How much room it takes."""
        files = self.path.rglob("*") if self.path.is_dir() and not self.path.is_symlink() else [self.path]
        return sum(file.lstat().st_size for file in files)


def find(
    directory: Path,
    *,
    failed: bool = True,
    unfinished: bool = False,
    grid: Collection[str] | None = None,
    commit: str | None = None,
) -> list[Waste]:
    """What may go: leftovers of killed drivers always, failed runs, runs under way or cut off (which would go on),
    runs that are not in `grid`, and runs made by another commit than `commit`. What a living driver has claimed or is
    writing may not."""
    store, found = Store(directory), list[Waste]()
    stamps = {path.name: store.stamp(path.name) for path in directory.glob("*")}  # first: a record may be replaced now
    entries = {entry.run_id: entry for entry in store.entries()}
    living = [claim for claim in RunLocks(directory / FOLDER).all() if claim.lives]
    claimed, writers = {claim.run_id for claim in living}, {(c.owner.host, str(c.owner.pid)) for c in living}
    for path, host, pid in store.unfinished():
        if (host, pid) not in writers and not (host == socket.gethostname() and alive(pid)):
            found.append(Waste(path, "a leftover of a writer"))
    for path in sorted(directory.iterdir()):
        if path.name.startswith(UNFINISHED) or path.name in claimed or path.is_symlink() or not path.is_dir():
            continue
        if entry := entries.get(path.name):
            stamp, made_by = stamps.get(path.name), entry.result.get("environment", {}).get("git_commit", "")
            if failed and entry.status == "failed":
                found.append(Waste(path, f"failed: {entry.result['error']}", stamp))
            elif grid is not None and path.name not in grid:
                what = f"{entry.result['method']}, seed {entry.result['seed']}"
                found.append(Waste(path, f"not in the grid: {what}", stamp))
            elif commit is not None and made_by != commit:
                found.append(Waste(path, f"made by commit {made_by or 'unknown'}, not {commit or 'unknown'}", stamp))
        elif unfinished and list(path.glob("*checkpoint*")):
            found.append(Waste(path, "cut off; the same sweep would go on with it"))
        elif (path / ASIDE).exists():
            found.append(Waste(path / ASIDE, "a checkpoint that could not be used"))
    return found


def delete(waste: Waste) -> bool:
    """Deletes it, or leaves it and returns false where a driver has taken it up since it was found.

    Raises `ConfigError` where it cannot be deleted.
    """
    store, run_id = Store(waste.path.parent), waste.path.name
    claims = RunLocks(store.directory / FOLDER)
    if run_id.startswith(UNFINISHED) or run_id == ASIDE:
        _remove(waste.path)
        return True
    if not claims.take(run_id, "bench prune"):
        return False
    try:
        if unchanged := store.stamp(run_id) == waste.stamp:
            _remove(waste.path)
        return unchanged
    finally:
        claims.release(run_id)
        with suppress(OSError):  # a driver's files are there
            claims.folder.rmdir()


def _remove(path: Path) -> None:
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be deleted: {(error.strerror or str(error)).lower()}.") from error
