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
from fedprompt.results.io import read_json
from fedprompt.results.records.identity import contradiction

if TYPE_CHECKING:
    from fedprompt.benchmark.runs.record import Record

METHOD_OVERRIDES = "own_settings.json"  # which runs of the directory were tuned per method
TEMPORARY = ".unfinished-"
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_EVERY = 30.0  # seconds: a shorter run never writes a checkpoint
MIN_FREE_BYTES = 50 * 2**20  # a sweep does not start on a disk with less free space

COST = ("config", "seconds", "gpu_peak_bytes")


@dataclass(frozen=True)
class Entry:
    """A run in the store: `status` is "done" or "failed", `result` the content of its result.json."""

    run_id: str
    status: str
    result: dict[str, Any]

    def cost(self) -> "Entry":
        """The same run with its configuration and its cost only: thousands of whole records would fill the memory."""
        return replace(self, result={key: value for key, value in self.result.items() if key in COST})


class Store:
    """The records in one directory. Only the driver of a sweep writes."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def prepare(self) -> None:
        """Creates the directory, and deletes what killed drivers of this machine left there.

        Raises:
            ConfigError: The directory cannot be created or written, or its disk is almost full.
        """
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
                    shutil.rmtree(folder, ignore_errors=True)
            trial = self.temporary_folder("trial")
            trial.mkdir()
            trial.rmdir()
        except OSError as error:
            raise ConfigError(
                f"--out {self.directory} cannot be written: {reason(error)}; choose another directory."
            ) from error

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
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else error
            raise ConfigError(f"{path} cannot be read ({why}); delete its directory to run it again.") from error
        record_format = result.get("format") if isinstance(result, dict) else None
        if record_format != RECORD_FORMAT:
            raise ConfigError(
                f"{path} has record format {record_format}; this version writes {RECORD_FORMAT}: "
                "upgrade the harness, or choose another directory with --out."
            )
        status = result.get("status")
        if status not in ("done", "failed"):
            raise ConfigError(f"{path} has no valid status; delete its directory to run it again.")
        fault = contradiction(result, run_id)
        if not fault and "data_identity" not in result["config"]:
            fault = "has an incomplete configuration"
        if fault:
            raise ConfigError(f"{path} was changed: it {fault}; delete its directory to run it again.")
        return Entry(run_id, status, result)

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
        names = sorted(p.name for p in self.directory.iterdir() if p.is_dir() and not p.name.startswith("."))
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
        place, new, old = self.directory / run_id, self.temporary_folder(run_id), self.temporary_folder("old")
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir()
            _write_files(new, record, log)
            if record.result["status"] != "done" and (place / CHECKPOINT).exists():
                shutil.copyfile(place / CHECKPOINT, new / CHECKPOINT)
            if place.exists():
                os.replace(place, old)
            os.replace(new, place)
        except OSError as error:
            raise ConfigError(f"the record of {run_id} cannot be written: {reason(error)}.") from error
        finally:  # also after an interruption
            if old.exists() and not place.exists():
                os.replace(old, place)
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)
        return place


def process_exists(pid: str) -> bool:
    """Whether a process with this id exists on this machine."""
    import psutil

    return pid.isdecimal() and psutil.pid_exists(int(pid))


def _write_files(folder: Path, record: "Record", log: str) -> None:
    config = json.dumps(record.config.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    (folder / "log.txt").write_text(log, encoding="utf-8")
    if record.rounds:
        import pandas as pd

        pd.DataFrame(record.rounds).to_parquet(folder / "rounds.parquet", index=False)
        pd.DataFrame(record.clients).to_parquet(folder / "clients.parquet", index=False)
    (folder / "result.json").write_text(json.dumps(record.result, indent=1) + "\n", encoding="utf-8")
