"""Records as one tidy file, for whatever reads tables elsewhere."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError, unknown
from fedprompt.results.records import files
from fedprompt.results.records import frames as records

WHAT: dict[str, Callable[[Path], pd.DataFrame]] = {}


def export(directory: str | Path, file: str | Path, what: str = "runs") -> int:
    """Writes one row a run, a round or a client into `file`, parquet or csv by its name; returns how many rows.

    A run's row has all of its metrics and, as `config.NAME`, its settings. In csv, lists are JSON. The file is
    replaced whole or not at all. Raises RecordError.
    """
    path = Path(file)
    if path.suffix not in files.EXPORTED:
        raise RecordError(f"{path} is neither .parquet nor .csv: name the file so that it says which")
    if what not in WHAT:
        raise unknown("kind of row", what, WHAT)
    frame = WHAT[what](Path(directory))
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        if path.suffix == ".csv":
            _flat(frame).to_csv(unfinished, index=False)
        else:
            frame.to_parquet(unfinished, index=False)
        os.replace(unfinished, path)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return len(frame)


def runs(directory: Path) -> pd.DataFrame:
    """One row a run: who it is, every metric, cost, and its settings as `config.NAME`."""
    frame = records.load(directory)
    return frame.join(pd.DataFrame([_settings(config) for config in records.configs(directory, frame["run_id"])]))


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as columns; what is nested, a method's settings, as JSON."""
    return {
        f"config.{name}": json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        for name, value in config.items()
    }


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    lists = [str(name) for name in frame if any(isinstance(value, np.ndarray) for value in frame[name])]
    return frame.assign(**{name: [json.dumps(value.tolist()) for value in frame[name]] for name in lists})


WHAT |= {"runs": runs, "rounds": records.rounds, "clients": records.clients}
