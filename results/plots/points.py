"""Points of many methods in one panel, with the names of the few that a reader seeks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from scipy.optimize import isotonic_regression

from results.style import CROWD, Styles, brief, highlighted

LINE = 0.055  # share of a panel's height that a name takes


def points(axis: Axes, data: pd.DataFrame, methods: Sequence[str], styles: Styles) -> None:
    """A marker for each row of `data` at its `x` and `y`; in a crowd the highlighted methods are named as well."""
    for method in reversed(methods):
        mine = data[data["method"] == method]
        axis.plot(mine["x"], mine["y"], label=method, **styles[method].keywords(lines=False))
    if len(methods) > CROWD:
        _names(axis, data[data["method"].isin(highlighted(methods))].dropna(subset=["x", "y"]), styles)


def _names(axis: Axes, data: pd.DataFrame, styles: Styles) -> None:
    """Names to the left of points of the right half and to the right of the others, none on another of its side."""
    if data.empty:
        return
    axis.margins(0.08)
    axis.autoscale_view()  # places depend on the limits
    places = axis.transAxes.inverted().transform(axis.transData.transform(data[["x", "y"]].to_numpy(float)))
    for side, sign in ((places[:, 0] >= 0.5, -1), (places[:, 0] < 0.5, 1)):
        order = np.flatnonzero(side)[np.argsort(-places[side, 1])]
        steps = LINE * np.arange(len(order))
        if not len(order):
            continue
        heights = isotonic_regression(places[order, 1] + steps, increasing=False).x - steps
        for i, height in zip(order, heights, strict=True):
            row = data.iloc[i]
            arrow = {"arrowstyle": "-", "lw": 0.4, "color": "0.5", "relpos": (float(sign < 0), 0.5), "shrinkA": 0}
            axis.annotate(
                brief(row["method"]), (row["x"], row["y"]), (places[i, 0] + 0.03 * sign, height),
                textcoords=axis.transAxes, ha="left" if sign > 0 else "right", va="center", fontsize=6.5,
                color=styles[row["method"]].ink,
                path_effects=[withStroke(linewidth=1.5, foreground="white")],
                arrowprops={**arrow, "shrinkB": 2},
            )  # fmt: skip
