"""Line charts: one panel per setting for few methods, small multiples by family for many."""

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes

from fedprompt.results.figures.method_styles import CROWD, FAINT, Style, Styles, highlighted
from fedprompt.results.figures.parts.families import FEW_SETTINGS, Lines, by_family, curve
from fedprompt.results.figures.parts.panels import legend, panels_by
from fedprompt.results.figures.style import Plot

HEIGHTS = 2.4, 3.3  # of a panel in inches, for few and many methods


def curves(lines: Lines, note: str = "") -> tuple[Plot, list[Axes]]:
    """Draw lines, and return the figure and its panels.

    Few methods have one panel per setting, with a band from `low` to `high` (shares) where `data` has these columns.
    Many methods are drawn by family where there are few settings, else the best methods in colour and others in grey.

    Args:
        lines: The lines.
        note: The legend's title.
    """
    data, methods, styles, _, axes, labels, page = lines
    crowd = len(methods) > CROWD
    if crowd and data["setting"].nunique() <= FEW_SETTINGS * page.columns:
        return by_family(lines)
    figure, panels = panels_by(data, "setting", *labels, page, HEIGHTS[crowd], row=page.columns if crowd else None)
    for axis, rows in panels:
        _lines(axis, rows, methods, styles, axes)
    coloured = highlighted(methods)
    if crowd:
        others = f"{len(methods) - len(coloured)} others"
        legend(figure, [*coloured, others], {**styles, others: Style(FAINT, "", "-")})
    else:
        legend(figure, methods, styles, note=fill(note, page.characters()))
    return figure, [axis for axis, _ in panels]


def _lines(axis: Axes, data: pd.DataFrame, methods: Sequence[str], styles: Styles, axes: tuple[str, str]) -> None:
    coloured = set(highlighted(methods))
    for i, method in sorted(enumerate(methods), key=lambda place: (place[1] in coloured, -place[0])):
        rows = data[data["method"] == method].dropna(subset=[axes[1]])
        if rows.empty:
            continue
        x, y = rows[axes[0]], rows[axes[1]]
        if method in coloured:
            curve(axis, x, y, styles[method], method, i)
        else:
            axis.plot(x, y, label=method, color=FAINT, linewidth=0.7)
        if "low" in rows and rows["low"].notna().any():
            colour = styles[method].colour
            axis.fill_between(x, 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.15, lw=0)
    axis.margins(x=0.02)
