"""Export of records to one tidy table: `bench export`."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError, check_known
from fedprompt.results.io import atomic_write, reason
from fedprompt.results.records import files
from fedprompt.results.records import frames as records


def export(directory: str | Path, file: str | Path, what: str = "runs") -> int:
    """Writes one row per run, round or client to a file.

    A row of a run has all of its metrics and, as `config.NAME`, its options. The file is written atomically.

    Args:
        directory: the directory of a sweep.
        file: a .parquet or .csv file; in csv, lists are written as JSON.
        what: "runs", "rounds" or "clients".

    Returns:
        The number of rows.

    Raises:
        RecordError: for another suffix, another `what`, unreadable records and a file that cannot be written.
    """
    path = Path(file)
    if path.suffix not in files.EXPORT_SUFFIXES:
        raise RecordError(f"{path} is neither .parquet nor .csv: end the file name with one of the two")
    check_known("kind of row", [what], READERS)
    frame = READERS[what](Path(directory))
    if path.suffix == ".csv":
        writer = partial(_with_json_lists(frame).to_csv, index=False)
    else:
        writer = partial(frame.to_parquet, index=False)
    try:
        atomic_write(path, writer)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {reason(error)}") from error
    return len(frame)


def runs(directory: Path) -> pd.DataFrame:
    """One row per run: its names, metrics and costs, and its options as `config.NAME`."""
    frame = records.load(directory)
    return frame.join(pd.DataFrame([_options(config) for config in records.configs(directory, frame["run_id"])]))


def _options(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as columns; nested values (the options of a method) as JSON."""
    return {
        f"config.{name}": json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        for name, value in config.items()
    }


def _with_json_lists(frame: pd.DataFrame) -> pd.DataFrame:
    lists = [str(name) for name in frame if any(isinstance(value, np.ndarray) for value in frame[name])]
    return frame.assign(**{name: [json.dumps(value.tolist()) for value in frame[name]] for name in lists})


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "runs": runs,
    "rounds": records.rounds,
    "clients": records.clients,
}
