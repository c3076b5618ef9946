"""The run store: one directory a run, named by its content hash, written whole or not at all."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedprompt.benchmark.config.run_config import RECORD_FORMAT, RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import reason
from fedprompt.data.files import json_files as jsonfile
from fedprompt.results.records.identity import contradiction

if TYPE_CHECKING:
    from fedprompt.benchmark.runs.execute import Record

OWN_SETTINGS = "own_settings.json"  # of a sweep's runs, for the table
UNFINISHED = ".unfinished-"
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_EVERY = 30.0  # seconds: a run that is shorter never writes one
SPARE_BYTES = 50 * 2**20  # a sweep does not start on a disk with less left


@dataclass(frozen=True)
class Entry:
    """A run as the store knows it: `status` is done or failed."""

    run_id: str
    status: str
    result: dict[str, Any]


class Store:
    """Records under one directory. Only the driver of a sweep writes."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def prepare(self) -> None:
        """Makes the directory fit to write in. Raises `ConfigError` where it cannot be."""
        try:
            place = next(path for path in (self.directory, *self.directory.absolute().parents) if path.exists())
            free = shutil.disk_usage(place).free
            if free < SPARE_BYTES:
                raise ConfigError(
                    f"--out {self.directory} has {free // 2**20} MiB left on its disk, and a sweep asks for "
                    f"{SPARE_BYTES // 2**20}: free some, or name another directory."
                )
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover, host, pid in self.unfinished():
                if host == socket.gethostname() and not alive(pid):  # of a driver here that was killed
                    shutil.rmtree(leftover, ignore_errors=True)
            trial = self.unfinished_place("trial")
            trial.mkdir()
            trial.rmdir()
        except OSError as error:
            raise ConfigError(f"--out {self.directory} cannot be written: {reason(error)}; name another.") from error

    def unfinished_place(self, name: str) -> Path:
        """Where this process writes what is not whole yet; other hosts may share the directory."""
        return self.directory / f"{UNFINISHED}{socket.gethostname()}-{os.getpid()}-{name}"

    def unfinished(self) -> Iterator[tuple[Path, str, str]]:
        """What is not whole yet or never will be, each with the host and the process number that its name tells."""
        for path in sorted(self.directory.glob(f"{UNFINISHED}*")):
            *host, pid, _ = ("-" + path.name.removeprefix(UNFINISHED)).rsplit("-", 2)
            yield path, "".join(host).removeprefix("-"), pid

    def stamp(self, run_id: str) -> tuple[int, int] | None:
        """What tells one record of a run from another one of it, without reading any; None where there is none."""
        try:
            state = (self.directory / run_id / "result.json").stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return state.st_ino, state.st_mtime_ns

    def entry(self, run_id: str) -> Entry | None:
        """The run of that name, or None. Raises `ConfigError` for a record that this version cannot read."""
        path = self.directory / run_id / "result.json"
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read; delete its directory to run it again.") from error
        found = result.get("format") if isinstance(result, dict) else None
        if found != RECORD_FORMAT:
            raise ConfigError(
                f"{path} has record format {found}; this version writes {RECORD_FORMAT}: "
                "upgrade the harness, or name another directory with --out."
            )
        status = result.get("status")
        if status not in ("done", "failed"):
            raise ConfigError(f"{path} names no status; delete its directory to run it again.")
        wrong = contradiction(result, run_id)
        if wrong or "data_identity" not in result["config"]:
            wrong = wrong or "holds no whole configuration"
            raise ConfigError(f"{path} was changed: it {wrong}; delete its directory to run it again.")
        return Entry(run_id, status, result)

    def entries(self, known: Mapping[str, Entry] | None = None) -> list[Entry]:
        """Every run in the directory. Entries in `known` are not read again."""
        if not self.directory.is_dir():
            raise ConfigError(f"{self.directory} is not a directory of runs; `bench sweep --out DIR` makes one.")
        names = sorted(p.name for p in self.directory.iterdir() if p.is_dir() and not p.name.startswith("."))
        return [entry for name in names if (entry := (known or {}).get(name) or self.entry(name))]

    def pending(self, configs: Iterable[RunConfig]) -> list[RunConfig]:
        """The runs that are not done: never run, or failed."""
        return [c for c in configs if (entry := self.entry(c.run_id)) is None or entry.status != "done"]

    def note_own(self, runs: Mapping[str, Any]) -> None:
        """Keeps beside the runs which of them have settings of their method alone, and after how many trials.

        That is a fact of the sweep which asked for them: a run with equal settings is the same run, however chosen.
        Several sweeps may do so at once. Raises `ConfigError` where it cannot be written, `RecordError` for what is
        there and cannot be read.
        """
        from fedprompt.results.records.files import own_settings

        path = self.directory / OWN_SETTINGS
        try:
            with path.with_name(f".{OWN_SETTINGS}.lock").open("wb") as lock:  # stays: who waits for it holds it open
                fcntl.flock(lock, fcntl.LOCK_EX)
                jsonfile.write(path, {**own_settings(self.directory), **runs})
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {reason(error)}; name another --out.") from error

    def write(self, record: "Record", log: str = "") -> Path:
        """Puts a record in its place, replacing a failed one of the same run; returns its directory."""
        place = self.directory / record.config.run_id
        unfinished, old = self.unfinished_place(record.config.run_id), self.unfinished_place("old")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            _write_files(unfinished, record, log)
            if record.result["status"] != "done" and (place / CHECKPOINT).exists():  # what is tried again goes on
                shutil.copyfile(place / CHECKPOINT, unfinished / CHECKPOINT)
            if place.exists():
                os.replace(place, old)
            os.replace(unfinished, place)
        except OSError as error:
            raise ConfigError(f"the record of {record.config.run_id} cannot be written: {reason(error)}.") from error
        finally:  # an interruption, too, leaves nothing behind, and nothing lost
            if old.exists() and not place.exists():
                os.replace(old, place)
            for leftover in (unfinished, old):
                shutil.rmtree(leftover, ignore_errors=True)
        return place


def alive(pid: str) -> bool:
    """Whether a process of that number is there, on this machine."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _write_files(folder: Path, record: "Record", log: str) -> None:
    config = json.dumps(record.config.model_dump(mode="json"), indent=1, sort_keys=True)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    (folder / "log.txt").write_text(log, encoding="utf-8")
    if record.rounds:
        import pandas as pd

        pd.DataFrame(record.rounds).to_parquet(folder / "rounds.parquet", index=False)
        pd.DataFrame(record.clients).to_parquet(folder / "clients.parquet", index=False)
    (folder / "result.json").write_text(json.dumps(record.result, indent=1) + "\n", encoding="utf-8")
