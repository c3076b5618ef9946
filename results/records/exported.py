"""Runs of an exported folder, in the shape of those of a directory: the report and figures read both."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fedprompt.results.errors import RecordError
from fedprompt.results.records import files
from fedprompt.results.records.frames import Runs, Unreadable
from fedprompt.results.records.identity import LATER_OPTIONS
from fedprompt.results.records.labels import Label, flat
from fedprompt.results.records.rows import NO_SCORES

OPTION, PLACE = "config.", "environment."


def open_runs(source: str | Path, run_ids: Iterable[str] | None = None, unreadable: Unreadable | None = None) -> Runs:
    """The runs of a directory, or of a folder or file of `bench export`. Raises RecordError as `Runs` does."""
    exported = files.exported_file(Path(source), "runs")
    return Runs(source, run_ids, unreadable) if exported is None else ExportedRuns(source, run_ids)


class ExportedRuns(Runs):
    """The runs of an exported folder or file, or those of `run_ids`. They have no logs and no tables by class.

    Raises RecordError if a file cannot be read or has none of these runs.
    """

    def __init__(self, source: str | Path, run_ids: Iterable[str] | None = None) -> None:
        self.directory, self.unreadable = Path(source), None
        frame = _of(files.read_export(self._file("runs")), run_ids)
        if frame.empty:
            raise RecordError(f"{source} contains none of the requested runs")
        self._read = [record(row) for row in frame.to_dict("records")]
        self._options = [flat(read["config"]) for read in self._read]
        left_out = [name for name in frame if str(name).startswith((OPTION, PLACE)) or name == "deviations"]
        absent = {name: value for name, value in {**NO_SCORES, "uploads": ""}.items() if name not in frame}
        self.frame = pd.concat([frame.drop(columns=left_out), pd.DataFrame(absent, frame.index)], axis=1)
        plain = self.frame.assign(method=[read["method"] for read in self._read])  # without the labels of this folder
        self._rows = plain.drop(columns=[n for n in Label._fields if n != "method"])
        self.records, self.folders = self._read, [self.directory / str(name) for name in frame["run_id"]]

    def _file(self, what: str) -> Path:
        path = files.exported_file(self.directory, what)
        if path is None:
            raise RecordError(f"{self.directory} is no folder of `bench export`")
        return path

    def rounds(self, columns: Sequence[str] | None = None, names: Sequence[str] = files.RUN_COLUMNS) -> pd.DataFrame:
        """See `Runs.rounds`."""
        return self._table("rounds", columns, names)

    def clients(self, columns: Sequence[str] | None = None, names: Sequence[str] = files.RUN_COLUMNS) -> pd.DataFrame:
        """See `Runs.clients`."""
        return self._table("clients", columns, names)

    def first_seed_clients(self) -> pd.DataFrame:
        """See `Runs.first_seed_clients`."""
        first = self.done.sort_values("seed", kind="stable").drop_duplicates("setting")
        return _of(self._table("clients", None, files.RUN_COLUMNS), first["run_id"])

    def _table(self, what: str, columns: Sequence[str] | None, names: Sequence[str]) -> pd.DataFrame:
        rows = _of(files.read_export(self._file(what), what), self.done["run_id"])
        if columns is None:
            return rows
        wanted = dict.fromkeys([*names, *columns, *({"run_id"} & set(names))])
        return rows[[name for name in wanted if name in rows]]


def _of(rows: pd.DataFrame, run_ids: Iterable[str] | None) -> pd.DataFrame:
    return rows if run_ids is None else rows[rows["run_id"].isin(set(run_ids))].reset_index(drop=True)


def record(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What an exported row tells of its record: names, options, environment, deviations and error."""
    config, trials = options(row), row.get("trials")
    return {
        **{name: row[name] for name in ("run_id", "dataset", "partition", "seed")},
        "method": config.get("method", row["method"]),
        "alpha": None if pd.isna(row["alpha"]) else row["alpha"],
        "config": config,
        "own_settings": {} if trials is None or pd.isna(trials) else {"trials": int(trials)},
        "error": row["error"] if isinstance(row.get("error"), str) else None,
        "environment": {  # a failed run may have none
            str(k).removeprefix(PLACE): v for k, v in row.items() if str(k).startswith(PLACE) and isinstance(v, str)
        },
        "deviations": json.loads(row.get("deviations", "[]")),
    }


def options(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The configuration of an exported row; what `bench export` wrote as JSON is decoded.

    An option that was added later has no value in the row of an older run, which does not have it at all.
    """
    given = {str(name).removeprefix(OPTION): value for name, value in row.items() if str(name).startswith(OPTION)}
    decoded = {name: _decoded(value) for name, value in given.items()}
    return {k: value for k, value in decoded.items() if value is not None or LATER_OPTIONS.get(k) is None}


def _decoded(value: Any) -> Any:
    if isinstance(value, str):
        return json.loads(value) if value.startswith(("{", "[")) else value
    return None if pd.isna(value) else getattr(value, "item", lambda: value)()
