"""What of a directory of runs may go: found first, and deleted only when that was said."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import ConfigError
from benchmark.store import Store
from benchmark.underway import ASIDE


@dataclass(frozen=True)
class Waste:
    """A file or a directory, and why it may go."""

    path: Path
    why: str

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
    runs that are not in `grid`, and runs made by another commit than `commit`."""
    store, found = Store(directory), list[Waste]()
    entries = {entry.run_id: entry for entry in store.entries()}
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".unfinished-"):
            found.append(Waste(path, "a leftover of a writer"))
        elif path.is_symlink() or not path.is_dir():
            continue
        elif entry := entries.get(path.name):
            made_by = entry.result.get("environment", {}).get("git_commit", "")
            if failed and entry.status == "failed":
                found.append(Waste(path, f"failed: {entry.result['error']}"))
            elif grid is not None and path.name not in grid:
                found.append(Waste(path, f"not in the grid: {entry.result['method']}, seed {entry.result['seed']}"))
            elif commit is not None and made_by != commit:
                found.append(Waste(path, f"made by commit {made_by or 'unknown'}, not {commit or 'unknown'}"))
        elif unfinished and list(path.glob("*checkpoint*")):
            found.append(Waste(path, "cut off; the same sweep would go on with it"))
        elif (path / ASIDE).exists():
            found.append(Waste(path / ASIDE, "a checkpoint that could not be used"))
    return found


def delete(waste: Waste) -> None:
    """Deletes it. Raises `ConfigError` where that cannot be."""
    try:
        if waste.path.is_symlink() or not waste.path.is_dir():
            waste.path.unlink()
        else:
            shutil.rmtree(waste.path)
    except OSError as error:
        raise ConfigError(f"{waste.path} cannot be deleted: {(error.strerror or str(error)).lower()}.") from error
