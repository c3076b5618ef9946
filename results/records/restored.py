"""The runs of an exported folder as they were in their directory: records, and tables of their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from fedprompt.results.errors import RecordError
from fedprompt.results.records import archive, files
from fedprompt.results.records.archive import REMEDY, Archived


class Restored(NamedTuple):
    """A run: the content of its result.json, what own_settings.json says of it, and its rounds and clients."""

    result: dict[str, Any]
    own_settings: dict[str, Any]
    tables: dict[str, pa.Table]


def restored(folder: Path) -> list[Restored]:
    """All runs of an exported folder, failed ones included.

    A record names no kept model, as exports contain none. Raises RecordError if a file is missing, unreadable or was
    changed, or if the files do not fit together.
    """
    runs = archive.read(folder)
    rows = {what: _rows(folder, what, runs) for what in archive.TABLES}
    return [
        Restored(
            {name: value for name, value in run.result.items() if name != "model"},
            run.own_settings,
            {what: rows[what][run.result["run_id"]] for what in run.schemas},
        )
        for run in runs
    ]


def _rows(folder: Path, what: str, runs: Sequence[Archived]) -> dict[str, pa.Table]:
    """The rows of each run that has such a table, by run id, with the columns and types of the run's own file."""
    schemas = {run.result["run_id"]: run.schemas[what] for run in runs if what in run.schemas}
    if not schemas:
        return {}
    path = folder / f"{what}.parquet"
    frame = files.read_export(path, what)
    places = frame.groupby("run_id", sort=False).indices
    if places.keys() != schemas.keys():
        raise RecordError(f"{path} contains rows of other runs than {archive.FILE}: {REMEDY}")
    found = {}
    try:
        stacked = pa.Table.from_pandas(frame, preserve_index=False)
        for run_id, schema in schemas.items():
            found[run_id] = _own(stacked.take(places[run_id]), schema)
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        first = str(error).splitlines()[0][:200]
        raise RecordError(f"{path} does not fit the types in {archive.FILE} ({first}): {REMEDY}") from error
    for run_id, table in found.items():
        if number := files.forbidden_number(table):
            raise RecordError(f"{path} was changed: it contains {number} of run {run_id}; {REMEDY}")
    return found


def _own(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """These rows with the columns of `schema`. Raises KeyError or ArrowException if they do not fit."""
    columns = [_cast(rows[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    if pa.types.is_null(kind) and column.null_count == len(column):  # Arrow casts no type to null
        return pa.nulls(len(column))
    return column.cast(kind)
