"""Accuracy against the values of one option."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.method_styles import Styles, assign
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.parts.intervals import bars, error_bars, note
from fedprompt.results.figures.parts.panels import legend, panels_by
from fedprompt.results.figures.style import SEEN, Plot, axis_label, styled
from fedprompt.results.statistics.summary import finished, ranking, with_intervals

# Options of a method or a run, with the labels of their axes.
SETTINGS = {
    "layer": "insertion layer J",
    "tau": "temperature tau",
    "beta": "prototype momentum beta",
    "shared_tokens": "tokens of the shared prompt, n_S",
    "class_tokens": "tokens of each class prompt, n_C",
    "mixing": "mixing rule",
    "participation": "share of the clients per round",
}


def ablation(option: str, title: str) -> Callable[..., Plot]:
    """The figure of one option: a function of `swept`, see `records.frames.swept`."""

    @styled
    def draw(
        swept: Callable[[str], pd.DataFrame],
        styles: Styles | None = None,
        columns: int = 2,
        metric: str = SEEN,
        style: str | None = None,
    ) -> Plot:
        """The figure: one panel per setting, one line or bar group per method."""
        runs = _varied(finished(swept(option)), option)
        data = with_intervals(runs, ["setting", "method", "value"], metric)
        values, methods = sorted(data["value"].unique(), key=_order), ranking(data, "mean")
        styles, lines = {**assign(methods), **(styles or {})}, option != "mixing"
        figure, panels = panels_by(data, "setting", title, axis_label(metric), page_of(style, columns))
        offsets = 0.08 * np.linspace(-1, 1, len(methods)) if len(methods) > 1 else [0.0]
        for axis, rows in panels:
            for method, offset in zip(methods, offsets, strict=True):
                line = rows[rows["method"] == method]
                line = line.assign(place=line["value"].map(values.index)).sort_values("place")
                look = styles[method].keywords(lines)
                error_bars(axis, line["place"] + offset, 100 * line["mean"], yerr=bars(line), label=method, **look)
            axis.set_xticks(range(len(values)), [str(value) for value in values])
            axis.tick_params(axis="x", labelrotation=30 if max(len(str(value)) for value in values) > 5 else 0)
            axis.set_xlim(-0.4, len(values) - 0.6)
        legend(figure, methods, styles, lines, note(data))
        figure.data = data
        return figure

    draw.__doc__ = f"Mean accuracy of the seen clients by {title}, one line per method, one panel per setting."
    return draw


def _varied(runs: pd.DataFrame, option: str) -> pd.DataFrame:
    """The runs of every method and setting with two or more values of the option."""
    varied = runs.dropna(subset=["value"])
    varied = varied[varied.groupby(["setting", "method"])["value"].transform("nunique") > 1]
    if varied.empty:
        raise MissingDataError(f"no method has finished runs at two values of {option}")
    # The method's name alone labels a line where no other line has the same method.
    roots = varied["method"].str.split().str[0]
    alone = varied.groupby(roots)["method"].transform("nunique") == 1
    return varied.assign(method=roots.where(alone, varied["method"]))


def _order(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), ""
    except ValueError:
        return True, 0.0, value
