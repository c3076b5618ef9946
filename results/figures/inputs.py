"""The inputs of figures by the names of their parameters, each read once."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from fedprompt.results.errors import MissingDataError, RecordError
from fedprompt.results.figures.method_styles import assign
from fedprompt.results.records.exported import open_runs
from fedprompt.results.records.frames import Unreadable


def inputs(
    directory: str | Path,
    chosen: frozenset[str] | None,
    unreadable: Unreadable | None,
    fixed: Mapping[str, Any],
) -> Callable[[str], Any]:
    """A function that gives the input of a name.

    Args:
        directory: The runs, or a folder of `bench export`.
        chosen: The ids of the runs to show, None for all.
        unreadable: See `frames.load`.
        fixed: Inputs that are known.

    Raises:
        RecordError: There are no runs.
    """
    runs = open_runs(directory, chosen, unreadable)
    makers: dict[str, Callable[[], Any]] = {
        "runs": lambda: runs.frame,
        "rounds": lambda: _read(lambda: runs.rounds(["round", "seen_mean"])),
        "clients": lambda: _read(lambda: runs.clients(["client", "held_out", "accuracy"])),
        "holders": lambda: _read(runs.first_seed_clients),
        "tables": runs.tables,
        "swept": lambda: runs.swept,
        "styles": lambda: assign(runs.frame["method"]),
    }

    @cache
    def given(name: str) -> Any:
        return fixed[name] if name in fixed else makers[name]()

    return given


def _read(read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of runs; an exported file may lack it, and then only some figures can be drawn."""
    try:
        return read()
    except RecordError as error:
        raise MissingDataError(str(error)) from error


def families(rows: pd.DataFrame) -> dict[str, str]:
    """The family of every method; empty without a column `family`."""
    if "family" not in rows:
        return {}
    first = rows.drop_duplicates("method")
    return dict(zip(first["method"], first["family"], strict=True))
