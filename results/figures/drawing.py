"""Records -> figures on disk, each with the numbers it shows beside it."""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from fedprompt.results.errors import MissingDataError, RecordError, unknown
from fedprompt.results.figures.ablation import SETTINGS, ablation
from fedprompt.results.figures.accuracy import accuracy_by_alpha, accuracy_over_rounds, seen_and_held_out
from fedprompt.results.figures.clients import partition, per_client
from fedprompt.results.figures.cost import accuracy_by_bytes
from fedprompt.results.figures.ranks import critical_difference
from fedprompt.results.figures.style import WIDTHS, Plot, assign, styled
from fedprompt.results.figures.weights import soft_weights
from fedprompt.results.records import frames as records

__all__ = [
    "FIGURES",
    "FORMATS",
    "accuracy_by_alpha",
    "accuracy_by_bytes",
    "accuracy_over_rounds",
    "critical_difference",
    "draw",
    "partition",
    "per_client",
    "seen_and_held_out",
    "soft_weights",
]

FORMATS = ("png", "pdf", "svg")
# A figure's parameters say what it is made of: see `_frames`.
_ALL: tuple[Callable[..., Plot], ...] = (
    accuracy_by_alpha,
    accuracy_over_rounds,
    seen_and_held_out,
    accuracy_by_bytes,
    per_client,
    partition,
    critical_difference,
    soft_weights,
)
FIGURES = {inspect.unwrap(figure).__name__: figure for figure in _ALL}
FIGURES |= {f"ablation_{setting}": ablation(setting, title) for setting, title in SETTINGS.items()}


def draw(
    directory: str | Path,
    names: Sequence[str] | None = None,
    out: str | Path | None = None,
    formats: Sequence[str] = ("png",),
    run_ids: Iterable[str] | None = None,
    columns: int = 2,
    tell: Callable[[str], object] = lambda line: None,
) -> list[Path]:
    """Write the named figures (default: all) to `out` (default: `directory`/figures) and return the files written.

    Each is NAME.FORMAT for every format, as wide as one or two `columns` of a page, and NAME.csv with the numbers
    shown. Of all figures, one that the records lack the data of is left out, and `tell` is told why. Raises RecordError
    for an unknown figure or format, for a named figure without data and for records that cannot be read.
    """
    for kind, wanted, known in (("figure", names or (), FIGURES), ("figure format", formats, FORMATS)):
        for name in wanted:
            if name not in known:
                raise unknown(kind, name, known)
    if columns not in WIDTHS:
        raise RecordError(f"a figure of {columns} columns: a page has one or two, so use 1 or 2")
    frame = _frames(directory, None if run_ids is None else frozenset(run_ids), columns)
    target = Path(directory, "figures") if out is None else Path(out)
    written = []
    for name in FIGURES if names is None else names:
        try:
            figure = FIGURES[name](**{wanted: frame(wanted) for wanted in inspect.signature(FIGURES[name]).parameters})
        except MissingDataError as reason:
            if names is not None:
                raise
            tell(f"{name} is not drawn: {reason}")
            continue
        written += _save(figure, target / name, formats)
    return written


def _frames(directory: str | Path, chosen: frozenset[str] | None, columns: int) -> Callable[[str], Any]:
    """What a figure's parameter stands for, by the parameter's name; read once."""
    runs = records.Runs(directory, chosen)
    made: dict[str, Callable[[], Any]] = {
        "runs": lambda: runs.frame,
        "rounds": lambda: runs.rounds(["round", "seen_mean"]),
        "clients": lambda: runs.clients(["client", "held_out", "accuracy"]),
        "holders": runs.first_seed_clients,
        "tables": runs.tables,
        "swept": lambda: runs.swept,
        "styles": lambda: assign(runs.frame["method"]),  # the look of the methods
        "columns": lambda: columns,
    }
    return cache(lambda name: made[name]())


@styled
def _save(figure: Plot, stem: Path, formats: Iterable[str]) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind in formats:
        _replace(stem.with_name(f"{stem.name}.{kind}"), partial(figure.savefig, format=kind))
    _replace(stem.with_name(f"{stem.name}.csv"), partial(figure.data.to_csv, index=False))
    return [stem.with_name(f"{stem.name}.{kind}") for kind in (*formats, "csv")]


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it, so that no reader meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
