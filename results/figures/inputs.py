"""The inputs of figures by the names of their parameters, each read once."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from fedprompt.results.errors import MissingDataError, RecordError
from fedprompt.results.figures.style import assign
from fedprompt.results.records import files, frames

Makers = dict[str, Callable[[], Any]]


def inputs(
    directory: str | Path,
    chosen: frozenset[str] | None,
    unreadable: frames.Unreadable | None,
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
    exported = Path(directory).is_dir() and files.exported_file(Path(directory), "runs") is not None
    makers = _of_export(directory, chosen) if exported else _of_runs(directory, chosen, unreadable)
    makers["styles"] = lambda: assign(given("runs")["method"])

    @cache
    def given(name: str) -> Any:
        return fixed[name] if name in fixed else makers[name]()

    return given


def _of_runs(directory: str | Path, chosen: frozenset[str] | None, unreadable: frames.Unreadable | None) -> Makers:
    runs = frames.Runs(directory, chosen, unreadable)
    return {
        "runs": lambda: runs.frame,
        "rounds": lambda: runs.rounds(["round", "seen_mean"]),
        "clients": lambda: runs.clients(["client", "held_out", "accuracy"]),
        "holders": runs.first_seed_clients,
        "tables": runs.tables,
        "swept": lambda: runs.swept,
    }


def _of_export(directory: str | Path, chosen: frozenset[str] | None) -> Makers:
    def read(reader: Callable[..., pd.DataFrame]) -> pd.DataFrame:
        try:
            return reader(directory, chosen)
        except RecordError as error:
            raise MissingDataError(str(error)) from error

    def swept(option: str) -> pd.DataFrame:
        raise MissingDataError(f"an export does not tell which runs differ in {option} only; name the runs themselves")

    return {
        "runs": lambda: frames.load(directory, chosen),
        "rounds": lambda: read(frames.rounds),
        "clients": lambda: read(frames.clients),
        "holders": lambda: read(frames.clients),
        "tables": dict,
        "swept": lambda: swept,
    }
