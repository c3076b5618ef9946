"""The run store: one directory per run, named by the hash of its configuration and written atomically."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedprompt.benchmark.config.run_config import RECORD_FORMAT, RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import reason
from fedprompt.data.files import json_files
from fedprompt.data.files.atomic import rename
from fedprompt.results.io import read_json
from fedprompt.results.records import models
from fedprompt.results.records.identity import contradiction
from fedprompt.results.text import MAX_LOG, bounded, escaped, safe_texts

if TYPE_CHECKING:
    from fedprompt.benchmark.runs.record import Record

METHOD_OVERRIDES = "own_settings.json"  # which runs of the directory were tuned per method
TEMPORARY = ".unfinished-"
EARLIER = "earlier_"  # the name, with a run id, of a temporary folder with what a new record replaces
CHECKPOINT = "checkpoint.safetensors"
MODEL = models.FILE
CHECKPOINT_EVERY = 30.0  # seconds: a shorter run never writes a checkpoint
MIN_FREE_BYTES = 50 * 2**20  # a sweep does not start on a disk with less free space

COST = ("config", "seconds", "gpu_peak_bytes")


@dataclass(frozen=True)
class Entry:
    """A run in the store: `status` is "done" or "failed", `result` the content of its result.json."""

    run_id: str
    status: str
    result: dict[str, Any]

    @classmethod
    def checked(cls, run_id: str, result: Any, place: str, remedy: str) -> "Entry":
        """The run whose record was read from `place`. Raises `ConfigError` for a record that is invalid."""
        record_format = result.get("format") if isinstance(result, dict) else None
        if record_format != RECORD_FORMAT:
            raise ConfigError(
                f"{place} has record format {record_format}; this version writes {RECORD_FORMAT}: "
                "upgrade the harness, or choose another directory with --out."
            )
        status = result.get("status")
        if status not in ("done", "failed"):
            raise ConfigError(f"{place} has no valid status; {remedy}.")
        fault = contradiction(result, run_id)
        if not fault and "data_identity" not in result["config"]:
            fault = "has an incomplete configuration"
        if fault:
            raise ConfigError(f"{place} was changed: it {fault}; {remedy}.")
        return cls(run_id, status, result)

    def lacks_model(self, keep: str | None, directory: Path) -> bool:
        """Whether this finished run in `directory` has not kept what `keep` asks for (`server`, `all`, None)."""
        if keep is None or self.status != "done":
            return False
        kept = (self.result.get("model") or {}).get("kept")
        return kept not in (keep, "all") or not (directory / self.run_id / MODEL).is_file()

    def cost(self) -> "Entry":
        """The same run with its configuration and its cost only: thousands of whole records would fill the memory."""
        return replace(self, result={key: value for key, value in self.result.items() if key in COST})


class Store:
    """The records in one directory. Only the driver of a sweep writes."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.prepared: int | None = None  # the inode of the directory when the sweep began

    def prepare(self) -> None:
        """Creates the directory, and deletes what killed drivers of this machine left there.

        Raises:
            ConfigError: The directory cannot be created or written, its disk is almost full, or its name cannot be used
                by the libraries that write records.
        """
        if str(self.directory) != (printed := escaped(str(self.directory))):
            raise ConfigError(f"--out {printed}: choose a name of printable characters in UTF-8.")
        try:
            existing = next(path for path in (self.directory, *self.directory.absolute().parents) if path.exists())
            free = shutil.disk_usage(existing).free
            if free < MIN_FREE_BYTES:
                raise ConfigError(
                    f"--out {self.directory}: its disk has {free // 2**20} MiB free; a sweep needs "
                    f"{MIN_FREE_BYTES // 2**20}. Free some space, or choose another directory."
                )
            self.directory.mkdir(parents=True, exist_ok=True)
            for folder, host, pid in self.temporary_folders():
                if host == socket.gethostname() and not process_exists(pid):
                    self._clear(folder)
            trial = self.temporary_folder("trial")
            trial.mkdir()
            trial.rmdir()
            self.prepared = self.directory.stat().st_ino
        except OSError as error:
            raise ConfigError(
                f"--out {self.directory} cannot be written: {reason(error)}; choose another directory."
            ) from error

    def _clear(self, folder: Path) -> None:
        """Deletes a temporary folder; one with an earlier record whose successor is missing is moved back instead."""
        place = self.directory / folder.name.rpartition(EARLIER)[2]
        if EARLIER in folder.name and not place.exists():
            rename(folder, place)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def check_directory(self) -> None:
        """Raises `ConfigError` if the prepared directory is gone: whatever creates it again would hide the loss."""
        try:
            found = self.directory.stat().st_ino
        except OSError as error:
            raise ConfigError(f"{self.directory} cannot be reached any more: {reason(error)}.") from error
        if self.prepared not in (None, found):
            raise ConfigError(f"{self.directory} was deleted or replaced by another directory during the sweep.")

    def temporary_folder(self, name: str) -> Path:
        """Returns the folder in which this process prepares `name`. Its path contains the host and process id."""
        return self.directory / f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}-{name}"

    def temporary_folders(self) -> Iterator[tuple[Path, str, str]]:
        """Yields all temporary folders, each with the host and the process id of its writer."""
        for path in sorted(self.directory.glob(f"{TEMPORARY}*")):
            *host, pid, _ = ("-" + path.name.removeprefix(TEMPORARY)).rsplit("-", 2)
            yield path, "".join(host).removeprefix("-"), pid

    def version(self, run_id: str) -> tuple[int, int] | None:
        """Returns a value that changes when the record of a run is replaced, or None if none can be seen."""
        try:
            state = (self.directory / run_id / "result.json").stat()
        except OSError:  # as it is absent, or its folder may not be read
            return None
        return state.st_ino, state.st_mtime_ns

    def entry(self, run_id: str) -> Entry | None:
        """Returns a run, or None if it has no record. Raises `ConfigError` for a record that is invalid."""
        path = self.directory / run_id / "result.json"
        try:
            result = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # says nothing about the record
            raise ConfigError(f"{path} cannot be read: {reason(error)}; try again later.") from error
        except ValueError as error:
            raise ConfigError(f"{path} cannot be read ({error}); delete its directory to run it again.") from error
        return Entry.checked(run_id, result, str(path), "delete its directory to run it again")

    def entries(
        self,
        known: Mapping[str, Entry] | None = None,
        unreadable: Callable[[ConfigError], object] | None = None,
    ) -> list[Entry]:
        """Returns every run in the directory, ordered by run id.

        Args:
            known: Entries that are not read again.
            unreadable: Called for each record that is invalid, which is then left out.

        Raises:
            ConfigError: This is no directory, or without `unreadable`, a record is invalid.
        """
        if not self.directory.is_dir():
            raise ConfigError(f"{self.directory} is not a directory of runs; `bench sweep --out DIR` creates one.")
        try:
            names = sorted(p.name for p in self.directory.iterdir() if p.is_dir() and not p.name.startswith("."))
        except OSError as error:
            raise ConfigError(f"{self.directory} cannot be read: {reason(error)}.") from error
        found = []
        for name in names:
            try:
                entry = (known or {}).get(name) or self.entry(name)
            except ConfigError as error:
                if unreadable is None:
                    raise
                unreadable(error)
                continue
            found += [entry] if entry else []
        return found

    def is_done(self, run_id: str) -> bool:
        """Whether a run has finished successfully."""
        entry = self.entry(run_id)
        return entry is not None and entry.status == "done"

    def pending(self, configs: Iterable[RunConfig]) -> list[RunConfig]:
        """Returns the runs that are not done: never run, or failed."""
        return [config for config in configs if not self.is_done(config.run_id)]

    def add_method_overrides(self, runs: Mapping[str, Any]) -> None:
        """Notes which runs were configured per method, and after how many trials, for the tables.

        This belongs to the sweep, not to the run: a run with equal settings is the same run, however they were
        chosen. Several sweeps may write at once.

        Raises:
            ConfigError: The file cannot be written.
            RecordError: The existing file cannot be read.
        """
        from filelock import FileLock

        from fedprompt.results.records.files import own_settings

        path = self.directory / METHOD_OVERRIDES
        try:
            with FileLock(path.with_name(f".{METHOD_OVERRIDES}.lock")):
                json_files.write(path, {**own_settings(self.directory), **runs})
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {reason(error)}; choose another --out.") from error

    def write(self, record: "Record", log: str = "") -> Path:
        """Stores a record, replacing an earlier one of the same run, and returns the run's directory.

        The record of a failed run keeps the run's checkpoint, so that the next attempt resumes from it.

        Raises:
            ConfigError: The record cannot be written. An earlier record is then unchanged.
        """
        run_id = record.config.run_id
        place, new = self.directory / run_id, self.temporary_folder(run_id)
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir()
            _write_files(new, record, log)
            if record.result["status"] != "done" and (place / CHECKPOINT).exists():
                shutil.copyfile(place / CHECKPOINT, new / CHECKPOINT)
            self.install(new, run_id)
        except OSError as error:
            raise ConfigError(f"the record of {run_id} cannot be written: {reason(error)}.") from error
        finally:  # also after an interruption
            shutil.rmtree(new, ignore_errors=True)
        return place

    def install(self, folder: Path, run_id: str) -> None:
        """Moves a complete folder to the place of a run, instead of an earlier folder of that run.

        Raises OSError if it cannot be moved. The earlier folder is then in its place again; if even that fails, the
        next sweep moves it back.
        """
        place, earlier = self.directory / run_id, self.temporary_folder(EARLIER + run_id)
        try:
            if place.exists():
                rename(place, earlier)
            rename(folder, place)
        finally:
            if earlier.exists():
                self._clear(earlier)


def process_exists(pid: str) -> bool:
    """Whether a process with this id exists on this machine."""
    import psutil

    return pid.isdecimal() and psutil.pid_exists(int(pid))


def _write_files(folder: Path, record: "Record", log: str) -> None:
    config = record.config.model_dump(mode="json")
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if record.model is not None:
        (folder / MODEL).write_bytes(record.model)
    (folder / "log.txt").write_text(escaped(bounded(log, MAX_LOG), lines=True), encoding="utf-8")
    if record.rounds:
        import pandas as pd

        pd.DataFrame(safe_texts(record.rounds)).to_parquet(folder / "rounds.parquet", index=False)
        pd.DataFrame(safe_texts(record.clients)).to_parquet(folder / "clients.parquet", index=False)
    result = safe_texts(record.result) | {"config": record.result["config"]}  # the run id is its hash
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
