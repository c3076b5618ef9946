"""records.jsonl.xz of an exported folder: the records themselves, which `bench merge` makes a directory of runs of.

It has one line of JSON per run, in the order of runs.parquet, with

    result        the content of its result.json, without the names of hosts
    own_settings  what own_settings.json says of the run
    columns       per table of the run, its columns with their types: the exported tables have those of all runs
"""

import json
import lzma
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from fedprompt.results.errors import RecordError
from fedprompt.results.io import parse_json, read_bounded, reason
from fedprompt.results.records import files
from fedprompt.results.records.frames import Runs

FILE = "records.jsonl.xz"
TABLES = ("rounds", "clients")
REMEDY = "export the runs again"
MAX_PACKED_BYTES = 2**30  # a run takes 0.3 to 1 KB
MAX_UNPACKED_PER_BYTE = 100  # 29 for 264 runs on the embedded default; 8 if all numbers are random
MIN_UNPACKED_LIMIT = 64 * 2**20  # for small files, which may compress better
MAX_MEMORY = 128 * 2**20  # of the decompressor; what `pack` writes needs 9 MiB
_LIST = "list of "
_TYPES = {
    str(kind): kind
    for kind in (
        *(pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()),
        *(pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string()),
    )
}
"""The types of columns that a run's tables may have, besides lists of them."""


class Archived(NamedTuple):
    """A line of the file: the parts of a run besides the rows of its tables, whose columns are `schemas`."""

    result: dict[str, Any]
    own_settings: dict[str, Any]
    schemas: dict[str, pa.Schema]


def pack(read: Runs, tables: Mapping[str, pd.DataFrame]) -> bytes:
    """The content of the file for these runs.

    `tables` are the exported rounds and clients. A run whose file could not be read has no rows there; its line names
    no columns, and the rebuilt run lacks the file, too. Raises RecordError if a record cannot be read any more.
    """
    packer = lzma.LZMACompressor()
    with_rows = {what: set(tables[what]["run_id"]) for what in TABLES}
    parts = []
    for folder, record in zip(read.folders, read.records, strict=True):
        line = {
            "result": _without_hosts(files.stored_record(folder / "result.json")),
            "own_settings": record["own_settings"],
            "columns": {
                what: _columns(files.read_parquet(folder / f"{what}.parquet").schema)
                for what in TABLES
                if record["run_id"] in with_rows[what]
            },
        }
        parts.append(packer.compress(json.dumps(line).encode() + b"\n"))
    return b"".join([*parts, packer.flush()])


def read(folder: Path) -> list[Archived]:
    """The lines of the file of an exported folder.

    Raises RecordError if it is missing, unreadable or too large, a line is not one of a run, or the runs are not those
    of runs.parquet.
    """
    path = folder / FILE
    if not path.exists():
        raise RecordError(
            f"{folder} has no {FILE}, as it was exported by an earlier version: {REMEDY}, or name the directory of runs"
        )
    found = [_archived(line, f"{path}, line {number},") for number, line in enumerate(_lines(path), 1)]
    run_ids = [run.result["run_id"] for run in found]
    if run_ids != list(files.read_export(folder / "runs.parquet")["run_id"].unique()):
        raise RecordError(f"{path} contains other runs than runs.parquet: {REMEDY}")
    return found


def _without_hosts(record: dict[str, Any]) -> dict[str, Any]:
    """The record without `worker`, a host and a process id, which no reader needs: exports are made to be published."""
    when = {name: value for name, value in record.get("when", {}).items() if name != "worker"}
    if isinstance(resumed := when.get("resumed"), list):
        when["resumed"] = [
            {k: v for k, v in attempt.items() if k != "worker"} if isinstance(attempt, dict) else attempt
            for attempt in resumed
        ]
    return record | {"when": when} if "when" in record else record


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of the unpacked file, which may be larger by a limited factor only."""
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_MEMORY)
    try:
        content = read_bounded(path, MAX_PACKED_BYTES)
        most = max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_PER_BYTE * len(content))
        unpacked = unpacker.decompress(content, most + 1)
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({reason(error)}): try again later") from error
    except (lzma.LZMAError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({error}): {REMEDY}") from error
    if len(unpacked) > most:
        raise RecordError(f"{path} unpacks to more than {most:,} bytes, which no export of its size does: {REMEDY}")
    if not unpacker.eof or unpacker.unused_data:
        raise RecordError(f"{path} is truncated, or has more content than one export: {REMEDY}")
    return iter(BytesIO(unpacked))


def _archived(line: bytes, place: str) -> Archived:
    try:
        content = parse_json(line)
    except ValueError as error:
        raise RecordError(f"{place} is not valid JSON ({error}): {REMEDY}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{place} is not a mapping: {REMEDY}")
    result: Any = content.get("result")
    own_settings: Any = content.get("own_settings")
    run_id: Any = result.get("run_id") if isinstance(result, dict) else None
    files.check_record(result, run_id, place, REMEDY)
    if not files.has_options_and_trials(own_settings):
        raise RecordError(f"{place} has something other than options and trials in own_settings: {REMEDY}")
    return Archived(result, own_settings, _schemas(content.get("columns"), place))


def _columns(schema: pa.Schema) -> dict[str, str]:
    return {field.name: _name(field.type) for field in schema}


def _name(kind: pa.DataType) -> str:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return f"{_LIST}{kind.value_type}" if is_list else str(kind)


def _schemas(columns: Any, place: str) -> dict[str, pa.Schema]:
    fault = f"{place} has something other than rounds and clients with their columns and types: {REMEDY}"
    if not isinstance(columns, dict) or not columns.keys() <= set(TABLES):
        raise RecordError(fault)
    schemas = {}
    for what, types in columns.items():
        if not isinstance(types, dict) or not all(isinstance(name, str) for name in types.values()):
            raise RecordError(fault)
        if unknown := [name for name in types.values() if name.removeprefix(_LIST) not in _TYPES]:
            raise RecordError(f"{place} has a column of the unknown type {unknown[0][:40]!r}: {REMEDY}")
        schemas[what] = pa.schema([(name, _type(kind)) for name, kind in types.items()])
        if wrong := files.wrong_column(schemas[what], f"{what}.parquet"):
            raise RecordError(f"{place} was changed: its table of {what} {wrong}; {REMEDY}")
    return schemas


def _type(name: str) -> pa.DataType:
    kind = _TYPES[name.removeprefix(_LIST)]
    return pa.list_(kind) if name.startswith(_LIST) else kind
