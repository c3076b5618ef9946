"""What `bench merge` reads: directories of runs, and folders of `bench export`."""

import json
import shutil
from pathlib import Path
from typing import Any, Protocol

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import MODEL, Entry, Store

FILES = ("config.json", "result.json", "rounds.parquet", "clients.parquet", "log.txt", MODEL)
LOG = "This run was rebuilt from an exported folder, which contains no logs.\n"


class Source(Protocol):
    """Runs that can be written into a directory of runs."""

    place: Path

    def entries(self) -> list[Entry]:
        """All runs. Raises `ConfigError` if one is invalid."""

    def own_settings(self) -> dict[str, Any]:
        """Which runs were configured per method. Raises `RecordError` if that cannot be read."""

    def write(self, run_id: str, folder: Path) -> None:
        """Writes the files of a run into an empty folder. Raises OSError if they cannot be written."""


def source(place: Path) -> Source:
    """The runs at a place.

    Raises:
        ConfigError: It is a single exported file.
        RecordError: It is an exported folder without records, or one that cannot be read.
    """
    from fedprompt.results.records.files import exported_file

    if exported_file(place, "runs") == place:
        raise ConfigError(f"{place} is a single table without records: name a folder of `bench export DIR FOLDER`.")
    return Export(place) if exported_file(place, "runs") else Directory(place)


class Directory:
    """The runs of a directory, whose files are copied."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def entries(self) -> list[Entry]:
        """See `Source.entries`. Links are refused, as their targets may be outside the directory."""
        entries = Store(self.place).entries()
        folders = [self.place / entry.run_id for entry in entries]
        for path in (path for folder in folders for path in (folder, *(folder / name for name in FILES))):
            if path.is_symlink():
                raise ConfigError(f"{path} is a link; a directory of runs may only contain files.")
        return entries

    def own_settings(self) -> dict[str, Any]:
        """See `Source.own_settings`."""
        from fedprompt.results.records.files import own_settings

        return own_settings(self.place)

    def write(self, run_id: str, folder: Path) -> None:
        """See `Source.write`."""
        for name in FILES:
            if (self.place / run_id / name).is_file():
                shutil.copyfile(self.place / run_id / name, folder / name)


class Export:
    """The runs of an exported folder, whose files are written anew. Raises `RecordError` if they cannot be read."""

    def __init__(self, place: Path) -> None:
        from fedprompt.results.records.restored import restored

        self.place = place
        self._runs = {run.result["run_id"]: run for run in restored(place)}

    def entries(self) -> list[Entry]:
        """See `Source.entries`."""
        return [
            Entry.checked(run_id, run.result, f"the record of run {run_id} in {self.place}", "export the runs again")
            for run_id, run in self._runs.items()
        ]

    def own_settings(self) -> dict[str, Any]:
        """See `Source.own_settings`."""
        return {run_id: run.own_settings for run_id, run in self._runs.items() if run.own_settings}

    def write(self, run_id: str, folder: Path) -> None:
        """See `Source.write`."""
        from pyarrow import parquet

        run = self._runs[run_id]
        config = json.dumps(run.result["config"], indent=1, sort_keys=True)
        (folder / "config.json").write_text(config + "\n", encoding="utf-8")
        (folder / "result.json").write_text(json.dumps(run.result, indent=1) + "\n", encoding="utf-8")
        (folder / "log.txt").write_text(LOG, encoding="utf-8")
        for what, table in run.tables.items():
            parquet.write_table(table, folder / f"{what}.parquet")
