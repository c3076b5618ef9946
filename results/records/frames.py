"""Records on disk -> tidy data frames."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fedprompt.results.errors import MissingDataError, RecordError
from fedprompt.results.records import files, models
from fedprompt.results.records.labels import Label, as_text, flat, label
from fedprompt.results.records.rows import Columns, Shared, row

Unreadable = Callable[[Exception], object]  # receives the error of each record that is left out

KEPT = (
    *("run_id", "method", "dataset", "partition", "alpha", "seed", "config", "own_settings"),
    *("error", "environment", "deviations", "by_class"),
)
"""What is kept of a record besides its row: names, options, what the report shows, and tables by class."""


class RunFrame(pd.DataFrame):
    """What `load` returns: a data frame with one row per run, which gives back the models that runs have kept."""

    _metadata = ["source"]
    source: str = ""
    """The directory of the runs; empty in a frame that was made from others."""

    @property
    def _constructor(self) -> Callable[..., "RunFrame"]:
        return RunFrame

    def model(self, run_id: str) -> models.Model:
        """The trained tensors of a run of this directory; see `results.model`.

        Raises:
            RecordError: The run kept no model, it cannot be read, or this frame has no directory.
        """
        if not self.source:
            raise RecordError(
                "this frame does not know its directory, as exported and joined ones: use "
                "fedprompt.results.model(DIR, RUN_ID)"
            )
        return models.model(self.source, run_id)


class Runs:
    """The runs of a directory, or those of `run_ids` that have a record. Each record is read once.

    `frame` has one row per run (see `load`); `folders` and `records`, of each what `KEPT` names, are in the order of
    its rows. `unreadable` is called once for each run that cannot be read, which is left out. Raises RecordError if
    the directory contains no runs that can be read, and without `unreadable`, if one cannot.
    """

    def __init__(
        self, directory: str | Path, run_ids: Iterable[str] | None = None, unreadable: Unreadable | None = None
    ) -> None:
        self.directory, self.unreadable = Path(directory), unreadable
        folders, rows, shared = list[Path](), Columns(), Shared()
        self._read, self._options = list[dict[str, Any]](), list[dict[str, str]]()
        chosen, own_settings = files.run_folders(self.directory, run_ids), files.own_settings(self.directory)
        for folder in chosen:
            try:
                record = files.read_record(folder / "result.json")
            except RecordError as error:
                self._leave_out(error)
                continue
            record["own_settings"] = own_settings.get(record["run_id"], {})
            folders.append(folder)
            rows.append(row(record))
            self._options.append(shared.texts(flat(record["config"])))
            kept = {key: record[key] for key in KEPT if key in record} | {"config": shared.texts(record["config"])}
            if "environment" in kept:
                kept["environment"] = shared.environment(kept["environment"])
            self._read.append(kept)
        if not folders:
            raise RecordError(f"{self.directory} contains no run that can be read")
        self._rows = pd.DataFrame(rows.values)
        self.frame, order = self._labelled()
        self.folders, self.records = [folders[row] for row in order], [self._read[row] for row in order]

    def _leave_out(self, error: RecordError) -> None:
        if self.unreadable is None:
            raise error
        self.unreadable(error)

    def _labelled(self, without: str | None = None) -> tuple[pd.DataFrame, list[int]]:
        """The sorted rows with their labels, and the index of each row's record."""
        labels = label(self._read, without, self._options)
        frame = self._rows.assign(**{part: [getattr(name, part) for name in labels] for part in Label._fields})
        frame = frame.sort_values(["dataset", "group", "partition", "alpha", "method", "seed", "run_id"])
        return frame.reset_index(drop=True), list(frame.index)

    @cached_property
    def done(self) -> pd.DataFrame:
        """The rows of `frame` of finished runs. Raises RecordError if there are none."""
        done = self.frame[self.frame["status"] == "done"]
        if done.empty:
            raise RecordError(f"{self.directory} contains no finished run: {len(self.frame)} unfinished or failed")
        return done

    def rounds(self, columns: Sequence[str] | None = None, names: Sequence[str] = files.RUN_COLUMNS) -> pd.DataFrame:
        """See the function `rounds`; with `columns` only these columns of the files, with `names` only these names."""
        return self._stacked("rounds.parquet", self.done, columns, names)

    def clients(self, columns: Sequence[str] | None = None, names: Sequence[str] = files.RUN_COLUMNS) -> pd.DataFrame:
        """See the function `clients`; with `columns` only these columns of the files, with `names` only these names."""
        return self._stacked("clients.parquet", self.done, columns, names)

    def first_seed_clients(self) -> pd.DataFrame:
        """`clients` of one run per setting, of its lowest seed: runs of one setting and seed have the same clients."""
        first = self.done.sort_values("seed", kind="stable").drop_duplicates("setting").sort_index()
        return self._stacked("clients.parquet", first)

    def _stacked(
        self,
        file: str,
        runs: pd.DataFrame,
        columns: Sequence[str] | None = None,
        names: Sequence[str] = files.RUN_COLUMNS,
    ) -> pd.DataFrame:
        tables = self._tables(file, list(runs.index), columns)
        if not tables:
            raise RecordError(f"{self.directory}: no {file} can be read")
        runs, rows = runs.loc[list(tables)], _concatenated(tables).to_pandas().reset_index(drop=True)
        counts = [table.num_rows for table in tables.values()]
        repeated = runs[list(names)].iloc[np.repeat(np.arange(len(runs)), counts)]
        return pd.concat([repeated.reset_index(drop=True), rows], axis=1)

    def _tables(self, file: str, places: Sequence[int], columns: Sequence[str] | None) -> dict[int, pa.Table]:
        """The tables of `file` that can be read, by row of `frame`."""
        tables = dict[int, pa.Table]()
        for place in places:
            try:
                tables[place] = files.read_unchecked(self.folders[place] / file, columns)
            except RecordError as error:
                self._leave_out(error)
        if tables and _has_forbidden_number(tables):
            for place, table in list(tables.items()):
                if fault := files.number_error(table, self.folders[place] / file):
                    self._leave_out(fault)
                    del tables[place]
        return tables

    def swept(self, option: str) -> pd.DataFrame:
        """See the function `swept`."""
        values = [option_of(record["config"], option) for record in self._read]
        if len({value for value in values if value is not None}) < 2:
            raise MissingDataError(f"no two runs differ in {option}")
        frame, order = self._labelled(option)
        return frame.assign(value=pd.Series([values[row] for row in order], index=frame.index, dtype=object))

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """See the function `tables`."""
        tables: dict[str, list[dict[str, Any]]] = {}
        for place, record in enumerate(self.records):
            for name, values in (record.get("by_class") or {}).items():
                run = {str(key): value for key, value in self.frame.iloc[place].to_dict().items()}
                tables.setdefault(name, []).append({**run, "values": values})
        return tables


def _has_forbidden_number(tables: Mapping[int, pa.Table]) -> bool:
    """Whether one of the tables contains a forbidden number."""
    try:
        return files.forbidden_number(_concatenated(tables)) is not None
    except pa.ArrowInvalid:  # a whole number that no float can hold, in a column with floats
        return True


def _concatenated(tables: Mapping[int, pa.Table]) -> pa.Table:
    """One table of all rows; a column that some lack is null there."""
    return pa.concat_tables(list(tables.values()), promote_options="permissive")


def load(source: str | Path, run_ids: Iterable[str] | None = None, unreadable: Unreadable | None = None) -> RunFrame:
    """One row per run, sorted by setting, method and seed. `load(DIR).model(RUN_ID)` is a model that a run has kept.

    Columns:
        `seen.mean`, `held_out.worst`, ...: accuracies in [0, 1], NaN for a failed run or if there are no such clients;
        `prior.seen.mean`, ...: the same with prior-corrected logits; `prior_uncalibrated.seen.mean`: at temperature 1.
        `upload_mb`, `download_mb`: traffic of the whole run in 10^6 bytes. `seconds`: wall-clock time of the run.
        `setting`: data set and heterogeneity; `group`: the same without `skew`, the partition.
        `method`: names the method's own options where its runs differ in them; `family`: "" if the record has none.
        `trials`: the number of values tried before the method's own options were chosen, NaN if they were not tuned.
        `config.NAME`: the options, only if `source` is exported.
        All other numbers of the records: `results.records.dictionary` describes every column.

    `source` is the directory of a sweep, or a folder or a file of `bench export`. Of `run_ids`, those without a record
    are left out. `unreadable` is called for each run that cannot be read, which is then left out. Raises RecordError if
    there are no runs, the file cannot be read, or without `unreadable`, a record.
    """
    exported = _exported(source, "runs", run_ids)
    if exported is not None:
        return RunFrame(exported)
    frame = RunFrame(Runs(source, run_ids, unreadable).frame)
    frame.source = str(source)
    return frame


def rounds(source: str | Path, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """One row per round of each finished run, with the names of its run; `source` as in `load`."""
    exported = _exported(source, "rounds", run_ids)
    return Runs(source, run_ids).rounds() if exported is None else exported


def clients(
    source: str | Path, run_ids: Iterable[str] | None = None, unreadable: Unreadable | None = None
) -> pd.DataFrame:
    """One row per client of each finished run, with the names of its run; `source` as in `load`."""
    exported = _exported(source, "clients", run_ids)
    return Runs(source, run_ids, unreadable).clients() if exported is None else exported


def _exported(source: str | Path, what: str, run_ids: Iterable[str] | None) -> pd.DataFrame | None:
    """The rows of an exported folder or file, all or those of `run_ids`; None if `source` is neither."""
    if (file := files.exported_file(Path(source), what)) is None:
        return None
    rows = files.read_export(file, what)
    return rows if run_ids is None else rows[rows["run_id"].isin(set(run_ids))].reset_index(drop=True)


def swept(directory: str | Path, option: str, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """`load` with a column `value`: the value of one option as text, NaN for a run without it, `default` for None.

    The names of methods and settings leave out this option and the method's variant, so that runs that differ only in
    this option have equal names. Raises MissingDataError if no two runs differ in it.
    """
    return Runs(directory, run_ids).swept(option)


def option_of(config: dict[str, Any], option: str) -> str | None:
    """The value of an option of the run or of its method, as text; None if there is no such option."""
    for options in (config, *(config.get("settings") or {}).values()):
        if option in options:
            return as_text(options[option]) or "default"
    return None


def tables(directory: str | Path, run_ids: Iterable[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Diagnostics that methods recorded per true class, by name.

    Each entry is the run's row of `load` and `values`, a matrix [C, C] (NaN: no test sample of that class).
    """
    return Runs(directory, run_ids).tables()
