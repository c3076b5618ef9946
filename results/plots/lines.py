"""Lines of many methods in one panel: all in colour while they are few, the best in colour when they are many."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from results.style import CROWD, FAINT, Plot, Style, Styles, end_labels, highlighted, legend, panels

HEIGHTS = 2.4, 3.3  # inches of a panel of few and of many methods


def line_panels(
    cells: Sequence[str], methods: Sequence[str], xlabel: str, ylabel: str, columns: int
) -> tuple[Plot, list[Axes]]:
    """The empty panels, one a cell; with many methods room is left for a name at each line's end."""
    crowd = len(methods) > CROWD
    return panels(cells, xlabel, ylabel, columns, HEIGHTS[crowd], row=columns if crowd else None)


def lines(
    axis: Axes, data: pd.DataFrame, methods: Sequence[str], styles: Styles, x: str, y: str, ends_apart: bool = True
) -> None:
    """One line a method of `data`, from column `x` to column `y`, a band of `band` either side where methods are few.

    Many lines are named at their ends where these are `ends_apart`.
    """
    coloured, ends = set(highlighted(methods)), {}
    looks = {name: styles[name] if name in coloured else styles[name].faint for name in methods}
    for i, method in sorted(enumerate(methods), key=lambda place: (place[1] in coloured, -place[0])):
        mine = data[data["method"] == method].dropna(subset=[y])
        if mine.empty:
            continue
        faint, every = method not in coloured, max(1, len(mine) // 6)
        keywords = looks[method].keywords() | ({"marker": "", "linewidth": 0.7} if faint else {})
        # Staggered, so that the markers of close lines do not cover one another.
        axis.plot(mine[x], mine[y], label=method, markevery=(i % every, every), **keywords)
        if "band" in mine and len(methods) <= CROWD:
            spread = mine["band"].fillna(0)
            axis.fill_between(mine[x], mine[y] - spread, mine[y] + spread, color=looks[method].colour, alpha=0.15, lw=0)
        ends[method] = (float(mine[x].iloc[-1]), float(mine[y].iloc[-1]))
    axis.margins(x=0.02)
    if len(methods) > CROWD and ends_apart:
        dark = {name: look._replace(colour="0.6") if name not in coloured else look for name, look in looks.items()}
        end_labels(axis, HEIGHTS[True], ends, dark)


def named(figure: Plot, methods: Sequence[str], styles: Styles, ends_apart: bool = True) -> None:
    """A legend where the lines carry no names themselves: of those in colour, and of how many others there are."""
    coloured = highlighted(methods)
    if len(coloured) == len(methods):
        legend(figure, methods, styles)
    elif not ends_apart:
        others = f"{len(methods) - len(coloured)} others"
        legend(figure, [*coloured, others], {**styles, others: Style(FAINT, "", "-")})
