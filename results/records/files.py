"""Readers of the files in a sweep's directory; they check what they read."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from fedprompt.results.errors import RecordError
from fedprompt.results.io import MAX_JSON_BYTES, parse_json, read_bounded, reason
from fedprompt.results.records.identity import contradiction
from fedprompt.results.text import has_safe_texts, safe_texts

FORMAT = 1
OWN_SETTINGS = "own_settings.json"  # per run: the options chosen for its method alone, and the number of trials
REQUIRED = ("run_id", "method", "dataset", "partition", "seed", "status", "config")
EXPORT_SUFFIXES = (".parquet", ".csv")
KEYS = {
    "runs": ("run_id", "method", "setting", "seed", "status"),
    "rounds": ("run_id", "method", "setting", "seed", "round"),
    "clients": ("run_id", "method", "setting", "seed", "client"),
}
"""What `bench export` writes: the kinds of rows, each with columns that its file must have."""
RUN_COLUMNS = ["run_id", "method", "family", "dataset", "partition", "alpha", "setting", "seed"]
"""Repeated in each row of a round or client."""
_TEXTS = ("method", "setting", "group", "skew", "dataset", "partition", "status", "family", "backbone", "uploads")
_COSTS = ("upload_mb", "seconds")
MAX_WHOLE = 9 * 10**15  # larger numbers have no exact float, and a column may get floats from another run
_NOT_NUMBERS = ("run_id", "error", "domain", "class_counts", "classes", "deviations")
_REMEDY = "delete the run's directory and run the sweep again"


def run_folders(directory: Path, run_ids: Iterable[str] | None) -> list[Path]:
    """The folders of all runs, or of those of `run_ids` that have a record. Raises RecordError if there are none."""
    if not directory.is_dir():
        raise RecordError(f"{directory} is not a directory: name the output directory of a sweep")
    folders = [path for path in sorted(directory.iterdir()) if path.name[0] not in "._" and _may_have_record(path)]
    if not folders:
        raise RecordError(f"{directory} contains no runs: name the output directory of a sweep, or run a sweep first")
    wanted = None if run_ids is None else set(run_ids)
    chosen = [folder for folder in folders if wanted is None or folder.name in wanted]
    if not chosen:
        raise RecordError(f"{directory} contains none of the requested runs: run the sweep first")
    return chosen


def _may_have_record(folder: Path) -> bool:
    """Whether a folder has a record, or may have one that this user must not see; reading it then says why."""
    try:
        (folder / "result.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def read_record(path: Path) -> dict[str, Any]:
    """A run's result.json, with safe texts.

    Raises RecordError if it is unreadable, of a newer format, incomplete or was changed.
    """
    record, text = _checked(path)
    return dict(record if has_safe_texts(text) else safe_texts(record))


def stored_record(path: Path) -> dict[str, Any]:
    """A run's result.json as it is on disk. Raises RecordError as `read_record` does."""
    return _checked(path)[0]


def _checked(path: Path) -> tuple[dict[str, Any], str]:
    """A run's result.json as it is on disk, and its text."""
    record, text = _read_json(path, _REMEDY)
    check_record(record, path.parent.name, str(path), _REMEDY)
    return record, text


def check_record(record: Any, run_id: str, place: str, remedy: str) -> None:
    """Raises RecordError if the record at `place` is not one of this run, of a newer format, incomplete or changed."""
    number = record.get("format") if isinstance(record, dict) else None
    if not isinstance(number, int):
        raise RecordError(f"{place} states no record format: {remedy}")
    if number > FORMAT:
        raise RecordError(
            f"{place} has record format {number}; this version reads up to {FORMAT}: "
            "upgrade the harness or use another directory"
        )
    if missing := [key for key in REQUIRED if record.get(key) is None]:
        raise RecordError(f"{place} lacks {', '.join(missing)}: {remedy}")
    if fault := contradiction(record, run_id):
        raise RecordError(f"{place} was changed: it {fault}; {remedy}")


def own_settings(directory: Path) -> dict[str, Any]:
    """The content of own_settings.json by run id, empty if there is no such file.

    A value may have `options` (names of options chosen for the run's method alone) and `trials` (their number).
    Raises RecordError if the file is unreadable or has another structure.
    """
    path, remedy = directory / OWN_SETTINGS, "delete it and run the sweep again"
    content = _read_json(path, remedy)[0] if path.exists() else {}
    if not isinstance(content, dict) or not all(has_options_and_trials(value) for value in content.values()):
        raise RecordError(f"{path} contains something other than options and trials per run: {remedy}")
    return content


def has_options_and_trials(value: Any) -> bool:
    """Whether this is what own_settings.json may have for one run."""
    if not isinstance(value, dict):
        return False
    options, trials = value.get("options", []), value.get("trials")
    named = isinstance(options, list) and all(isinstance(option, str) for option in options)
    return named and (trials is None or (isinstance(trials, int) and 0 <= trials < 2**31))


def _read_json(path: Path, remedy: str) -> tuple[Any, str]:
    """The content of a JSON file, and its text."""
    try:
        content = read_bounded(path, MAX_JSON_BYTES)
        return parse_json(content), content.decode()
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({reason(error)}): try again later") from error
    except ValueError as error:
        raise RecordError(f"{path} is not valid JSON ({error}): {remedy}") from error


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A run's parquet file: all columns, or those of `columns` that it has. Raises RecordError if unreadable."""
    table = read_unchecked(path, columns)
    if error := number_error(table, path):
        raise error
    return table


def read_unchecked(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """As `read_parquet`, but does not check numbers: thousands of tables are checked faster once they are one."""
    try:
        file = parquet.ParquetFile(pa.BufferReader(path.read_bytes()))  # opening by path takes longer than reading
        if fault := wrong_column(file.schema_arrow.remove_metadata(), path.name):
            raise RecordError(f"{path} was changed: it {fault}; {_REMEDY}")
        # One thread: for the small files of thousands of runs, distributing the work costs more than reading.
        # Nothing is read from the metadata, which pandas would trust.
        table = file.read(columns, use_threads=False).replace_schema_metadata()
        if fault := _missing_value(table):
            raise RecordError(f"{path} was changed: it {fault}; {_REMEDY}")
        return table
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, RecordError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecordError(f"{path} cannot be read ({first}): {_REMEDY}") from error


def number_error(table: pa.Table, path: Path) -> RecordError | None:
    """The error of a table, read from `path`, that contains a forbidden number."""
    found = forbidden_number(table)
    return RecordError(f"{path} was changed: it contains {found}; {_REMEDY}") if found else None


@lru_cache(maxsize=100)  # thousands of files have a few schemas
def wrong_column(schema: pa.Schema, file: str) -> str | None:
    """What distinguishes the columns from those of a run's `file`, as part of a sentence; None if nothing does."""
    if missing := [name for name in _COLUMNS.get(file, ()) if name not in schema.names]:
        return f"has no column {missing[0]}"
    for field in schema:
        if field.name in RUN_COLUMNS:
            return f"has a column {field.name}, which belongs to its run"
        kind, is_right = _COLUMN_KINDS.get(field.name, ("numbers", _is_number))
        if not (is_right(field.type) or (pa.types.is_null(field.type) and field.name not in _WHOLE)):
            return f"contains something other than {kind} in the column {field.name[:40]}"
    if len(set(schema.names)) < len(schema.names):
        return "has two columns of the same name"
    return None


def _missing_value(table: pa.Table) -> str | None:
    """What a table lacks in the columns that have a value in every row, as part of a sentence; None if nothing."""
    for name in _WHOLE:
        if name not in table.column_names:
            continue
        column = table.column(name)
        if column.null_count or (name == "class_counts" and pc.list_flatten(column).null_count):
            return f"contains nothing in a row of the column {name}"
        if name == "class_counts" and len(pc.unique(pc.list_value_length(column))) > 1:
            return f"contains lists of several lengths in the column {name}"
    return None


def forbidden_number(table: pa.Table) -> str | None:
    """Infinity, or a whole number that no float can hold, with its column; None if there is none.

    Diagnostics of a method, `train_NAME` and `test_NAME`, may be infinite.
    """
    for name, column in zip(table.column_names, table.itercolumns(), strict=True):
        scored = pa.types.is_floating(column.type) and not name.startswith(("train_", "test_"))
        if scored and np.isinf(column.to_numpy()).any():
            return f"infinity in the column {name}"
        if pa.types.is_integer(column.type):
            bounds = pc.min_max(column).as_py()
            if any(abs(bound) > MAX_WHOLE for bound in bounds.values() if bound is not None):
                return f"a number beyond 9e15 in the column {name}"
    return None


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType, of: Callable[[pa.DataType], bool]) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and of(kind.value_type)


_COLUMNS = {"rounds.parquet": ("round", "seen_mean"), "clients.parquet": ("client", "held_out", "class_counts")}
"""Columns that every file has."""
_WHOLE = ("round", "client", "held_out", "class_counts")
"""Columns that have a value in every row."""
_COLUMN_KINDS: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
    "round": ("whole numbers", pa.types.is_integer),
    "client": ("whole numbers", pa.types.is_integer),
    "held_out": ("true and false", pa.types.is_boolean),
    "domain": ("text", _is_text),
    "class_counts": ("lists of whole numbers", partial(_is_list, of=pa.types.is_integer)),
    "classes": ("lists of numbers", partial(_is_list, of=_is_number)),
}
"""The columns of rounds.parquet and clients.parquet that may not have numbers of any kind."""


def exported_file(source: Path, what: str) -> Path | None:
    """The file of `what` (a key of KEYS) if `source` is a file or a folder of `bench export`, else None."""
    if source.suffix in EXPORT_SUFFIXES and not source.is_dir():
        return source
    if (source / "runs.parquet").is_file() and not any(source.glob("*/result.json")):
        return source / f"{what}.parquet"
    return None


def read_export(path: Path, what: str = "runs") -> pd.DataFrame:
    """A file written by `bench export`. Raises RecordError if it is unreadable or has not the columns of `what`."""
    if not path.exists():
        raise RecordError(f"{path} does not exist: name a file of `bench export`, or the output directory of a sweep")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({str(error).splitlines()[0]}): export the runs again") from error
    frame = frame.rename(columns={"cell": "setting"})  # the name of this column in version 0.1
    if missing := [name for name in KEYS[what] if name not in frame]:
        raise RecordError(
            f"{path} contains no {what}, it lacks {', '.join(missing)}: name a file of `bench export --what {what}`"
        )
    if frame.empty:
        raise RecordError(f"{path} contains no {what}, it has no rows: export the runs again")
    if what == "runs" and (absent := [name for name in _COSTS if name not in frame]):
        raise RecordError(f"{path} was changed: it has no column {absent[0]}; export the runs again")
    if fault := _wrong_values(frame):
        raise RecordError(f"{path} was changed: it {fault}; export the runs again")
    return frame


def _wrong_values(frame: pd.DataFrame) -> str | None:
    """How the columns of an export differ from those that are written, as part of a sentence; None if they do not."""
    for name, column in frame.items():
        if name == "class_counts" and (fault := _wrong_counts(column, frame["run_id"])):
            return fault
        if name in _TEXTS:
            if not column.map(lambda value: isinstance(value, str)).all():
                return f"contains something other than text in the column {name}"
        elif not (str(name).startswith(("config.", "environment.")) or name in _NOT_NUMBERS or column.isna().all()):
            if not pd.api.types.is_numeric_dtype(column):
                return f"contains something other than numbers in the column {str(name)[:40]}"
            if name in ("seed", "round", "client") and not np.isfinite(column.astype(float)).all():
                return f"lacks a number in the column {name}"
    return None


def _wrong_counts(counts: "pd.Series[Any]", run_ids: "pd.Series[Any]") -> str | None:
    """How exported class counts differ from one list per client, as long as those of the run's other clients."""
    if not counts.map(lambda value: isinstance(value, str)).all():  # a CSV file has texts
        if not counts.map(lambda value: isinstance(value, np.ndarray) and value.dtype.kind in "iu").all():
            return "contains something other than lists of whole numbers in the column class_counts"
        if counts.map(len).groupby(run_ids.to_numpy()).nunique().max() > 1:
            return "contains lists of several lengths in the column class_counts"
    return None


def _read_csv(path: Path) -> pd.DataFrame:
    # "" where a record has none; read_csv would make it a missing number
    text_columns = ("family", "backbone", "uploads")
    frame = pd.read_csv(path, dtype=dict.fromkeys(text_columns, str))
    return frame.fillna({name: "" for name in text_columns if name in frame})
