"""The files of a sweep's directory as they lie there, checked as they are read."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from fedprompt.results.errors import RecordError
from fedprompt.results.records.identity import contradiction

FORMAT = 1
OWN_SETTINGS = "own_settings.json"  # which runs have settings that their method alone was given, and how many trials
IDENTITY = ("run_id", "method", "dataset", "partition", "seed", "status", "config")
EXPORTED = (".parquet", ".csv")
_REMEDY = "delete the run's directory and run the sweep again"


def folders(directory: Path, run_ids: Iterable[str] | None) -> list[Path]:
    """The folders of the runs, or of those asked for that have a record. Raises RecordError where there is none."""
    if not directory.is_dir():
        raise RecordError(f"{directory} is not a directory: name the directory that a sweep wrote")
    found = [path.parent for path in sorted(directory.glob("*/result.json")) if path.parent.name[0] not in "._"]
    if not found:
        raise RecordError(f"{directory} holds no run: name the directory that a sweep wrote, or run the sweep first")
    wanted = None if run_ids is None else set(run_ids)
    chosen = [folder for folder in found if wanted is None or folder.name in wanted]
    if not chosen:
        raise RecordError(f"{directory} holds none of the runs asked for: run the sweep first")
    return chosen


def record(path: Path) -> dict[str, Any]:
    """A run's result.json. Raises RecordError for one that cannot be read, is newer, incomplete or was changed."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not valid JSON ({error}): {_REMEDY}") from error
    number = read.get("format") if isinstance(read, dict) else None
    if not isinstance(number, int):
        raise RecordError(f"{path} names no record format: {_REMEDY}")
    if number > FORMAT:
        raise RecordError(
            f"{path} has record format {number}; this version reads up to {FORMAT}: "
            "upgrade the harness or use another directory"
        )
    if missing := [key for key in IDENTITY if read.get(key) is None]:
        raise RecordError(f"{path} lacks {', '.join(missing)}: {_REMEDY}")
    if wrong := contradiction(read, path.parent.name):
        raise RecordError(f"{path} was changed: it {wrong}; {_REMEDY}")
    return dict(read)


def own_settings(directory: Path) -> dict[str, Any]:
    """What a sweep noted of its runs' settings; empty where no method had any to itself.

    Raises RecordError for what cannot be read, or is no such note.
    """
    path, remedy = directory / OWN_SETTINGS, "delete it and run the sweep again"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not valid JSON ({error}): {remedy}") from error
    if not isinstance(found, dict) or not all(_is_note(note) for note in found.values()):
        raise RecordError(f"{path} holds something else than options and trials of runs: {remedy}")
    return found


def _is_note(note: Any) -> bool:
    if not isinstance(note, dict):
        return False
    options, trials = note.get("options", []), note.get("trials")
    named = isinstance(options, list) and all(isinstance(option, str) for option in options)
    return named and (trials is None or (isinstance(trials, int) and 0 <= trials < 2**31))


def table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A parquet file, whole or those of the `columns` that it has. Raises RecordError for one that cannot be read."""
    try:
        # In this thread: to hand the small files of thousands of runs to others costs more than to read them.
        return parquet.ParquetFile(path, memory_map=True).read(columns, use_threads=False)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({str(error).splitlines()[0]}): {_REMEDY}") from error


def exported(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A file of `bench export`. Raises RecordError for one that cannot be read or lacks a column that is `needed`."""
    if not path.exists():
        raise RecordError(f"{path} is not there: name a file of `bench export`, or the directory that a sweep wrote")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({str(error).splitlines()[0]}): export the runs again") from error
    frame = frame.rename(columns={"cell": "setting"})  # the name of this column in version 0.1
    if missing := [name for name in needed if name not in frame]:
        raise RecordError(
            f"{path} holds no runs, it lacks {', '.join(missing)}: name a file of `bench export --what runs`"
        )
    return frame


def _csv(path: Path) -> pd.DataFrame:
    words = ("family", "backbone")  # empty where a record names none, which csv would read as a missing number
    frame = pd.read_csv(path, dtype=dict.fromkeys(words, str))
    return frame.fillna({word: "" for word in words if word in frame})
