"""Export of records as tidy tables: `bench export`."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError, check_known
from fedprompt.results.io import atomic_write, csv, reason
from fedprompt.results.records import archive, croissant, files
from fedprompt.results.records.dictionary import markdown
from fedprompt.results.records.frames import Runs, Unreadable
from fedprompt.results.records.selection import ALL, Selection, metrics


def export(
    directory: str | Path,
    file: str | Path,
    what: str = "runs",
    unreadable: Unreadable | None = None,
    selection: Selection = ALL,
) -> int:
    """Writes one row per run, round or client (`what`) to a .parquet or .csv file; returns the number of rows.

    A row of a run has all of its metrics and, as `config.NAME`, its options. In csv, lists are written as JSON. The
    file is written atomically. `unreadable` as in `load`; `selection` chooses runs, and metrics of `runs`. Raises
    RecordError for another suffix or `what` and for unreadable records.
    """
    path = Path(file)
    if path.suffix not in files.EXPORT_SUFFIXES:
        raise RecordError(
            f"{path} is neither .parquet nor .csv: end the file name with one of the two, "
            "or name a folder (without a suffix) for all three tables"
        )
    check_known("kind of row", [what], ROWS)
    read = Runs(directory, selection.run_ids(directory, unreadable), unreadable)
    frame = _chosen(ROWS[what](read), what, selection)
    _write(path, csv(_with_json_lists(frame)) if path.suffix == ".csv" else partial(frame.to_parquet, index=False))
    return len(frame)


def export_folder(
    directory: str | Path, folder: str | Path, unreadable: Unreadable | None = None, selection: Selection = ALL
) -> dict[str, int]:
    """Writes the tables of runs, rounds and clients, and the records; returns the numbers of rows.

    `records.jsonl.xz` has the whole records of the chosen runs, whatever metrics are chosen: `bench merge` makes a
    directory of runs of it again. `columns.md` describes every column, and `croissant.json` the files as MLCommons
    Croissant metadata, without the licence and the authors, which only you can add. `load`, `rounds` and `clients` read
    the folder in place of the directory. Raises RecordError for a folder that contains runs, one that cannot be
    written, and unreadable records.
    """
    target, read = Path(folder), Runs(directory, selection.run_ids(directory, unreadable), unreadable)
    if any(target.glob("*/result.json")):
        raise RecordError(f"{target} contains the records of runs: export into another folder")
    tables = {what: _chosen(rows(read), what, selection) for what, rows in ROWS.items()}
    records = archive.pack(read, tables)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{target} cannot be created: {reason(error)}") from error
    for what, frame in tables.items():
        _write(target / f"{what}.parquet", partial(frame.to_parquet, index=False))
    _write(target / archive.FILE, records)
    _write(target / "columns.md", markdown(tables))
    _write(target / "croissant.json", croissant.as_text(croissant.metadata(target, tables)))
    return {what: len(frame) for what, frame in tables.items()}


def runs(read: Runs) -> pd.DataFrame:
    """One row per run: its names, metrics and costs, its options as `config.NAME`, and where it was computed."""
    return read.frame.join(_typed([_options(record["config"]) | _origin(record) for record in read.records]))


ROWS: dict[str, Callable[[Runs], pd.DataFrame]] = {"runs": runs, "rounds": Runs.rounds, "clients": Runs.clients}


def _chosen(frame: pd.DataFrame, what: str, selection: Selection) -> pd.DataFrame:
    """The rows of runs without the metrics that are not chosen; rounds and clients have no such metrics."""
    if what != "runs" or not selection.metrics:
        return frame
    kept = selection.metrics_of(metrics(frame))
    return frame.drop(columns=[name for name in metrics(frame, valued=False) if name not in kept])


def _write(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    try:
        atomic_write(path, content)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {reason(error)}") from error


def _origin(record: dict[str, Any]) -> dict[str, Any]:
    """The software and hardware of a run, and its known differences from the papers as JSON."""
    environment = {f"environment.{name}": value for name, value in (record.get("environment") or {}).items()}
    return environment | {"deviations": json.dumps(record.get("deviations") or [])}


def _typed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a frame of which each column has values of one kind."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> "pd.Series[Any]":
    """Whole numbers stay such where other runs have no value: 3 is not 3.0. Values of several kinds become text."""
    kinds = {type(value) for value in values} - {NoneType}
    large = any(type(value) is int and abs(value) >= 2**63 for value in values)
    if large or not (len(kinds) < 2 or kinds == {int, float}):
        return pd.Series([v if v is None or isinstance(v, str) else json.dumps(v) for v in values])
    return pd.Series(values, dtype="Int64" if kinds == {int} and None in values else None)


def _options(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as columns; nested values (the options of a method) as JSON."""
    return {
        f"config.{name}": json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        for name, value in config.items()
    }


def _with_json_lists(frame: pd.DataFrame) -> pd.DataFrame:
    lists = [str(name) for name in frame if any(isinstance(value, np.ndarray) for value in frame[name])]
    return frame.assign(**{name: [json.dumps(value.tolist()) for value in frame[name]] for name in lists})
