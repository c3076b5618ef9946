"""Draws the figures of a directory of runs, with the numbers they show as CSV."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fedprompt.results.errors import MissingDataError, RecordError, check_known, unknown
from fedprompt.results.figures.comparisons.differences import differences
from fedprompt.results.figures.comparisons.pairwise import pairwise
from fedprompt.results.figures.comparisons.ranks import critical_difference
from fedprompt.results.figures.inputs import inputs
from fedprompt.results.figures.measurements.ablation import SETTINGS, ablation
from fedprompt.results.figures.measurements.accuracy import accuracy_by_alpha, accuracy_over_rounds, seen_and_held_out
from fedprompt.results.figures.measurements.clients import partition, per_client
from fedprompt.results.figures.measurements.cost import accuracy_by_bytes
from fedprompt.results.figures.measurements.weights import soft_weights
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.style import SEEN, Plot, styled
from fedprompt.results.io import atomic_write, csv, reason
from fedprompt.results.records import frames as records
from fedprompt.results.records.selection import accuracies

__all__ = [
    "FIGURES",
    "FORMATS",
    "accuracy_by_alpha",
    "accuracy_by_bytes",
    "accuracy_over_rounds",
    "critical_difference",
    "differences",
    "draw",
    "pairwise",
    "partition",
    "per_client",
    "seen_and_held_out",
    "soft_weights",
]

FORMATS = ("png", "pdf", "svg")
# The names of a figure's parameters select its input: see `inputs`.
_ALL: tuple[Callable[..., Plot], ...] = (
    accuracy_by_alpha,
    accuracy_over_rounds,
    seen_and_held_out,
    accuracy_by_bytes,
    per_client,
    partition,
    pairwise,
    differences,
    critical_difference,
    soft_weights,
)
FIGURES = {inspect.unwrap(figure).__name__: figure for figure in _ALL}
FIGURES |= {f"ablation_{option}": ablation(option, title) for option, title in SETTINGS.items()}


def draw(
    directory: str | Path,
    names: Sequence[str] | None = None,
    out: str | Path | None = None,
    formats: Sequence[str] = ("png",),
    run_ids: Iterable[str] | None = None,
    columns: int = 2,
    log: Callable[[str], object] = lambda line: None,
    unreadable: records.Unreadable | None = None,
    metric: str = SEEN,
    style: str | None = None,
    reference: str | None = None,
    prior: bool = False,
) -> list[Path]:
    """Draw figures to NAME.FORMAT, with their numbers in NAME.csv, and return the files written.

    Args:
        directory: The runs, or a folder of `bench export` with files of all three kinds.
        names: The figures; default: all for which there is data.
        out: The folder to write to; default: `directory`/figures.
        formats: Of `FORMATS`.
        run_ids: The runs to show; default: all.
        columns: Width in columns of a page, 1 or 2.
        log: Called with one line per figure omitted for lack of data.
        unreadable: Called for each run that cannot be read, which is then left out.
        metric: The accuracy to show. Of another than the default, the files are NAME_METRIC.FORMAT, and figures of
            one accuracy only are omitted.
        style: The publication style whose widths to use, of `pages.STYLES`; default: 3.4 and 7 inches.
        reference: The method that the figure `differences` compares the others with; without it, that is not drawn.
        prior: Add rows with prior-corrected logits to `differences`.

    Raises:
        RecordError: A figure, metric, format, style or reference is unknown, `reference` or `prior` would have no
            effect, a named figure lacks data, a record cannot be read, or a file cannot be written.
    """
    _check_names(names or (), formats)
    page_of(style, columns)  # refuses unknown ones
    _check_effect(names, reference, prior)
    fixed = {"columns": columns, "metric": metric, "style": style, "reference": reference, "prior": prior}
    given = inputs(directory, None if run_ids is None else frozenset(run_ids), unreadable, fixed)
    check_known("metric of a figure", [metric], accuracies(given("runs")))
    if reference is not None:
        check_known("method", [reference], set(given("runs")["method"]))
    target = Path(directory, "figures") if out is None else Path(out)
    written = []
    for name in FIGURES if names is None else names:
        try:
            figure = _figure(name, metric, given)
        except MissingDataError as missing:
            if names is not None:
                raise
            log(f"{name} is not drawn: {missing}")
            continue
        try:
            written += _save(figure, target / (name if metric == SEEN else f"{name}_{metric}"), formats)
        except OSError as error:
            raise RecordError(
                f"{target} cannot be written: {reason(error)}; choose another folder with --out"
            ) from error
    return written


def _check_names(names: Sequence[str], formats: Sequence[str]) -> None:
    """Refuses unknown figures and formats."""
    for kind, wanted, known in (("figure", names, FIGURES), ("figure format", formats, FORMATS)):
        for name in wanted:
            if name not in known:
                raise unknown(kind, name, known)


def _check_effect(names: Sequence[str] | None, reference: str | None, prior: bool) -> None:
    """Refuses options of the figure `differences` that would have no effect."""
    if prior and reference is None:
        raise RecordError("--prior adds rows to the figure differences, which needs --reference METHOD, too")
    if reference is not None and names is not None and "differences" not in names:
        raise RecordError(
            f"--reference {reference} is for the figure differences: add it to {' '.join(names)}, or leave out "
            "--reference"
        )


def _figure(name: str, metric: str, given: Callable[[str], Any]) -> Plot:
    parameters = inspect.signature(FIGURES[name]).parameters
    if metric != SEEN and "metric" not in parameters:
        raise MissingDataError(f"it shows no metric that could be chosen, such as {metric}")
    return FIGURES[name](**{key: given(key) for key in parameters})


@styled
def _save(figure: Plot, stem: Path, formats: Iterable[str]) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind in formats:
        atomic_write(stem.with_name(f"{stem.name}.{kind}"), partial(figure.savefig, format=kind))
    atomic_write(stem.with_name(f"{stem.name}.csv"), csv(figure.data))
    return [stem.with_name(f"{stem.name}.{kind}") for kind in (*formats, "csv")]
