"""Records on disk -> tidy frames."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from fedprompt.results.errors import MissingDataError, RecordError
from fedprompt.results.records import files
from fedprompt.results.records.labels import Label, flat, label, text

SPLITS = ("seen", "held_out", "held_out_unlabelled", "held_out_adapted", "validation")
MEASURES = ("mean", "worst", "bottom_decile", "std", "pooled", "clients")
NAMES = ["run_id", "method", "family", "setting", "alpha", "seed"]  # of its run, in a row of a round or a client


class Runs:
    """The runs of a directory, or those of `run_ids` that have a record: each record is read once, whatever is made.

    Raises RecordError for a directory without runs and for a record that cannot be read.
    """

    def __init__(self, directory: str | Path, run_ids: Iterable[str] | None = None) -> None:
        self.directory = Path(directory)
        found = files.folders(self.directory, run_ids)
        marks = files.own_settings(self.directory)
        self._read = [files.record(folder / "result.json") for folder in found]
        self._read = [record | {"own_settings": marks.get(record["run_id"], {})} for record in self._read]
        self._settings = [flat(record["config"]) for record in self._read]
        self._rows = pd.DataFrame([_row(record) for record in self._read]).astype({"alpha": float})
        self.frame, order = self._named()
        self.folders, self.records = [found[row] for row in order], [self._read[row] for row in order]

    def _named(self, without: str | None = None) -> tuple[pd.DataFrame, list[int]]:
        """A row a run with its label, and which record each row is of."""
        names = label(self._read, without, self._settings)
        frame = self._rows.assign(**{part: [getattr(name, part) for name in names] for part in Label._fields})
        frame = frame.sort_values(["dataset", "group", "partition", "alpha", "method", "seed", "run_id"])
        return frame.reset_index(drop=True), list(frame.index)

    @cached_property
    def done(self) -> pd.DataFrame:
        """The rows of `frame` whose run is finished. Raises RecordError where none is."""
        done = self.frame[self.frame["status"] == "done"]
        if done.empty:
            raise RecordError(f"{self.directory} holds no finished run: {len(self.frame)} unfinished or failed")
        return done

    def rounds(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """See `rounds`; of its files' columns only those named."""
        return self._stacked("rounds.parquet", self.done, columns)

    def clients(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """See `clients`; of its files' columns only those named."""
        return self._stacked("clients.parquet", self.done, columns)

    def holders(self) -> pd.DataFrame:
        """The clients of each setting's first finished run, by seed: every run of a setting and seed has the same."""
        first = self.done.sort_values("seed", kind="stable").drop_duplicates("setting").sort_index()
        return self._stacked("clients.parquet", first)

    def _stacked(self, file: str, runs: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
        tables = [files.table(self.folders[place] / file, columns) for place in runs.index]
        rows = pa.concat_tables(tables, promote_options="permissive").to_pandas().reset_index(drop=True)
        names = runs[NAMES].iloc[np.repeat(np.arange(len(runs)), [table.num_rows for table in tables])]
        return pd.concat([rows, names.reset_index(drop=True)], axis=1)

    def swept(self, option: str) -> pd.DataFrame:
        """See `swept`."""
        values = [option_of(record["config"], option) for record in self._read]
        if len({value for value in values if value is not None}) < 2:
            raise MissingDataError(f"no two runs differ in {option}")
        frame, order = self._named(option)
        return frame.assign(value=pd.Series([values[row] for row in order], index=frame.index, dtype=object))

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """See `tables`."""
        found: dict[str, list[dict[str, Any]]] = {}
        for place, record in enumerate(self.records):
            for name, values in (record.get("by_class") or {}).items():
                run = {str(key): value for key, value in self.frame.iloc[place].to_dict().items()}
                found.setdefault(name, []).append({**run, "values": values})
        return found


def load(source: str | Path, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """One row a run, ordered by setting, method and seed, of a sweep's directory or of what `bench export` made of one.

    Accuracies (`seen.mean`, `held_out.worst`, ..., `prior.seen.mean` with prior-corrected logits) are shares in [0, 1],
    NaN where a run failed or has no such clients; `upload_mb` and `download_mb` are 10^6 bytes of the whole run,
    `seconds` its wall-clock. `setting` names what was measured, `group` the same without `skew`, the partition; a method
    that was run with several of its own options is named with them, and its `family` is empty where its record names
    none. `trials` is how many options were tried before a method's own were chosen, NaN where none were. Of `run_ids`,
    those without a record yet are left out. An exported file has the options as well, as `config.NAME`. Raises
    RecordError for a directory without runs, a file that holds none, and for a record that cannot be read.
    """
    if Path(source).suffix in files.EXPORTED:
        runs = files.exported(Path(source), ["run_id", "method", "setting", "seed", "status"])
        return runs if run_ids is None else runs[runs["run_id"].isin(set(run_ids))].reset_index(drop=True)
    return Runs(source, run_ids).frame


def rounds(directory: str | Path, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """The rounds of every finished run, one row a round, with run_id, method, family, setting, alpha and seed."""
    return Runs(directory, run_ids).rounds()


def clients(directory: str | Path, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """The clients of every finished run, one row a client, with run_id, method, family, setting, alpha and seed."""
    return Runs(directory, run_ids).clients()


def configs(directory: str | Path, run_ids: Iterable[str]) -> list[dict[str, Any]]:
    """The configurations of these runs, in their order."""
    return [files.record(Path(directory) / run_id / "result.json")["config"] for run_id in run_ids]


def swept(directory: str | Path, option: str, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """`load` with the `value` of one option as text, missing where a run has no such option, `default` for none.

    Neither method nor setting is named with it, nor a method with its variant, so that runs that differ in nothing but
    this option share both. Raises MissingDataError where no two runs differ in it.
    """
    return Runs(directory, run_ids).swept(option)


def option_of(config: dict[str, Any], option: str) -> str | None:
    """A setting's value as text, of the protocol or of the method; None where there is no such option."""
    for options in (config, *(config.get("settings") or {}).values()):
        if option in options:
            return text(options[option]) or "default"
    return None


def tables(directory: str | Path, run_ids: Iterable[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """What methods left per true class, by name: the run's row of `load` with the square `values` [C, C] (nan: no test
    sample of that class)."""
    return Runs(directory, run_ids).tables()


def _row(record: dict[str, Any]) -> dict[str, Any]:
    row = {
        key: record.get(key) for key in ("run_id", "method", "dataset", "partition", "alpha", "seed", "status", "error")
    }
    for prefix, key in (("", "metrics"), ("prior.", "metrics_prior")):
        for split in SPLITS:
            measured = (record.get(key) or {}).get(split) or {}
            row |= {f"{prefix}{split}.{name}": _number(measured.get(name)) for name in MEASURES}
    bytes_, parameters = record.get("communication") or {}, record.get("parameters") or {}
    return row | {
        "family": record.get("family") or "",
        "backbone": (record.get("config") or {}).get("backbone") or "",
        "upload_mb": _number(bytes_.get("upload_bytes")) / 1e6,
        "download_mb": _number(bytes_.get("download_bytes")) / 1e6,
        "shared_parameters": _number(parameters.get("shared")),
        "local_parameters": _number(parameters.get("local")),
        "seconds": _number((record.get("seconds") or {}).get("total")),
        "images_per_second": _number(record.get("images_per_second")),
        "never_trained": _number(record.get("never_trained")),
        "trials": _number(record["own_settings"].get("trials")),
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
