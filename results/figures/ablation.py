"""Accuracy against one option, where a directory holds runs that differ in it."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.accuracy import ACCURACY
from fedprompt.results.figures.intervals import bars, note
from fedprompt.results.figures.style import Plot, Styles, assign, legend, panels, styled
from fedprompt.results.statistics.summary import finished, ranking, with_intervals

Swept = Callable[[str], pd.DataFrame]
# A option, of a method or of the protocol, and what its axis is called.
SETTINGS = {
    "layer": "insertion layer J",
    "tau": "temperature tau",
    "beta": "prototype momentum beta",
    "shared_tokens": "tokens of the shared prompt, n_S",
    "class_tokens": "tokens of each class prompt, n_C",
    "mixing": "mixing rule",
    "participation": "share of the clients in a round",
}


def ablation(option: str, title: str) -> Callable[..., Plot]:
    """The figure of one option: a function of `swept`, see `records.swept`."""

    @styled
    def draw(swept: Swept, styles: Styles | None = None, columns: int = 2) -> Plot:
        """Mean accuracy of the seen clients against a option, with intervals; a line a method, a panel a setting."""
        runs = _varied(finished(swept(option)), option)
        data = with_intervals(runs, ["setting", "method", "value"], "seen.mean")
        values, methods = sorted(data["value"].unique(), key=_order), ranking(data, "mean")
        looks, settings = {**assign(methods), **(styles or {})}, list(dict.fromkeys(data["setting"]))
        figure, axes = panels(settings, title, ACCURACY, columns)
        reach = 0.08 * np.linspace(-1, 1, len(methods)) if len(methods) > 1 else [0.0]
        for axis, setting in zip(axes, settings, strict=True):
            for method, offset in zip(methods, reach, strict=True):
                mine = data[(data["setting"] == setting) & (data["method"] == method)]
                mine = mine.assign(place=mine["value"].map(values.index)).sort_values("place")
                axis.errorbar(
                    mine["place"] + offset, 100 * mine["mean"], yerr=bars(mine), label=method,
                    elinewidth=0.8, capsize=1.5, **looks[method].keywords(lines=option != "mixing"),
                )  # fmt: skip
            axis.set_xticks(range(len(values)), [str(value) for value in values])
            axis.tick_params(axis="x", labelrotation=30 if max(len(str(value)) for value in values) > 5 else 0)
            axis.set_xlim(-0.4, len(values) - 0.6)
        legend(figure, methods, looks, lines=option != "mixing", note=note(data))
        figure.data = data
        return figure

    draw.__doc__ = f"Mean accuracy of the seen clients against the {title}; a line a method, a panel a setting."
    return draw


def _varied(runs: pd.DataFrame, option: str) -> pd.DataFrame:
    """The runs of every method and setting that took the option at two values or more."""
    varied = runs.dropna(subset=["value"])
    varied = varied[varied.groupby(["setting", "method"])["value"].transform("nunique") > 1]
    if varied.empty:
        raise MissingDataError(f"no method has finished runs at two values of {option}")
    # A line is named by its method alone where that has no other line.
    roots = varied["method"].str.split().str[0]
    alone = varied.groupby(roots)["method"].transform("nunique") == 1
    return varied.assign(method=roots.where(alone, varied["method"]))


def _order(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), ""
    except ValueError:
        return True, 0.0, value
