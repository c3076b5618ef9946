"""Repeats a run of an exported folder and compares it with the rows of its tables."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.reproduce import RUN_ID, Comparison, compare_environments, differences, largest_change
from fedprompt.benchmark.runs.store import Entry, Store
from fedprompt.results.errors import RecordError
from fedprompt.results.records import files
from fedprompt.results.records.exported import ExportedRuns
from fedprompt.results.records.frames import Runs
from fedprompt.results.report.command import command

if TYPE_CHECKING:
    from fedprompt.benchmark.runs.execute import Progress

COMPARED = ("unscored_", "images_", "federation_", "convergence_")
NAMED = (
    *("temperature", "upload_mb", "download_mb", "calibration_bytes", "shared_parameters", "local_parameters"),
    "never_trained",
)
"""Columns of runs.parquet in which two executions of a run agree, besides the scores."""


class ExportedRun:
    """A finished run of an exported folder.

    Attributes:
        entry: Its configuration, as that of a record.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        """Reads the rows of a run.

        Raises:
            ConfigError: The folder has no such run, or it failed.
            RecordError: A table cannot be read.
        """
        if not RUN_ID.fullmatch(run_id):
            raise ConfigError(f"{run_id} is not a run id: run ids have 16 hexadecimal digits, as in runs.parquet.")
        try:
            runs = ExportedRuns(folder, [run_id])
        except RecordError as error:
            if not (folder / "runs.parquet").is_file():
                raise
            raise ConfigError(f"{folder} has no run {run_id}; runs.parquet lists its runs.") from error
        row = runs.frame.iloc[0]
        if row["status"] != "done":
            raise ConfigError(f"run {run_id} failed: there are no results to compare with.")
        record = runs.records[0]
        self.entry = Entry(run_id, "done", {"config": record["config"], "environment": record["environment"]})
        self._row, self._folder = _compared(row), folder
        self._tables = {
            what: getattr(runs, what)() for what in ("rounds", "clients") if (folder / f"{what}.parquet").is_file()
        }

    def reproduce(self, config: RunConfig, progress: "Progress") -> Comparison:
        """Runs the configuration again, in a temporary directory, and compares with the rows."""
        from fedprompt.benchmark.hardware.devices import processors
        from fedprompt.benchmark.runs.execute import execute

        with tempfile.TemporaryDirectory(prefix="bench-reproduce-") as folder:
            record = execute(config, processors(), progress)
            Store(folder).write(record)
            again = Runs(folder)
            row = _compared(again.frame.iloc[0])
            numbers = differences(self._row, {name: row.get(name) for name in self._row})
            for what, table in self._tables.items():
                numbers += differences(_plain(table), _plain(getattr(again, what)(), table.columns), what)
        then = self.entry.result["environment"]
        environment = compare_environments(then, record.result["environment"]) if then else []
        return Comparison(
            command(config.model_dump(mode="json")),
            numbers,
            environment,
            largest_change(_means(self._row), _means(row)),
        )


def _compared(row: "pd.Series[Any]") -> dict[str, Any]:
    """The numbers of a row that do not depend on the machine."""
    names = [str(name) for name in row.index]
    chosen = [name for name in names if "." in name or name in NAMED or name.startswith(COMPARED)]
    return {name: float(row[name]) for name in chosen if name != "images_per_second"}


def _means(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.endswith((".mean", ".pooled"))}


def _plain(table: pd.DataFrame, columns: Any = None) -> list[dict[str, Any]]:
    """The rows without the names of the run, times and missing values; of `columns`, if given.

    In an export, rows lack a value of what only other runs have.
    """
    names = [name for name in table if name not in files.RUN_COLUMNS and name != "seconds"]
    names = [name for name in names if columns is None or name in set(columns)]
    rows = table[names].to_dict("records")
    return [
        {str(k): v.tolist() if hasattr(v, "tolist") else v for k, v in row.items() if not _lacks(v)} for row in rows
    ]


def _lacks(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
