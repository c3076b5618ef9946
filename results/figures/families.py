"""Lines of many methods in small multiples: a row a family, a column a setting, all other methods in grey behind."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fedprompt.results.figures.style import WIDTHS, Plot, Style, Styles, brief

FEW_SETTINGS = 2  # for each column of the page: more panels side by side would be too narrow
TOGETHER = 8  # methods in colour in one panel, at most
HEIGHT = 1.3  # inches of a panel: what the names of so many methods need


class Lines(NamedTuple):
    """What is drawn: the columns `axes` of `data`, a line a method and setting, under these `labels` of the axes.

    `families` names each method's; the figure is as wide as so many `columns` of a page.
    """

    data: pd.DataFrame
    methods: Sequence[str]
    styles: Styles
    families: Mapping[str, str]
    axes: tuple[str, str]
    labels: tuple[str, str]
    columns: int


def by_family(lines: Lines) -> tuple[Plot, list[Axes]]:
    """The figure and its panels; the rows of a family's panels end in the names of its methods, best first.

    All panels have the same axes. One setting alone leaves room for two families side by side.
    """
    data, methods, styles, families, axes, labels, columns = lines
    settings, groups = list(dict.fromkeys(data["setting"])), grouped(methods, families)
    beside = max(1, columns // len(settings))
    down, across = -(-len(groups) // beside), len(settings) * beside
    figure = Plot(figsize=(WIDTHS[columns], HEIGHT * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for place, (title, names) in enumerate(groups):
        row, left = place // beside, place % beside * len(settings)
        panels = grid[row, left : left + len(settings)]
        for axis, setting in zip(panels, settings, strict=True):
            _panel(axis, data[data["setting"] == setting], methods, names, styles, axes)
            if row == 0 and len(settings) > 1:
                axis.set_title(fill(setting, int(14 * WIDTHS[columns] / (across + 1)), break_long_words=False))
        _names(panels[-1], title, names, styles)
    drawn = [axis for axis in grid.flat if axis.lines]
    for axis in grid.flat:
        if not axis.lines:
            axis.remove()
    for axis in drawn[-across:]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel(labels[0], fontsize=8)
    figure.supylabel(labels[1], fontsize=8)
    return figure, drawn


def grouped(methods: Sequence[str], families: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The methods by family, in the order of each family's first, with the families' names.

    A family of too many for one panel is cut into parts of nearly equal size; small ones next to each other share one.
    """
    found: dict[str, list[str]] = {}
    for name in methods:
        found.setdefault(families.get(name, ""), []).append(name)
    groups: list[tuple[str, list[str]]] = []
    for family, names in sorted(found.items(), key=lambda item: -len(item[1])):
        for part in np.array_split(np.array(names, dtype=object), -(-len(names) // TOGETHER)):
            if groups and groups[-1][0] != family and len(groups[-1][1]) + len(part) <= TOGETHER:
                groups[-1] = (", ".join(filter(None, (groups[-1][0], family))), [*groups[-1][1], *part])
            else:
                groups.append((family, list(part)))
    return groups


def curve(axis: Axes, x: "pd.Series[float]", y: "pd.Series[float]", look: Style, label: str, place: int) -> None:
    """One method's line, its markers staggered by its `place`, so that those of close lines do not hide each other."""
    every = max(1, len(x) // 6)
    axis.plot(x, y, label=label, markevery=(place % every, every), **look.keywords())


def _panel(
    axis: Axes, data: pd.DataFrame, methods: Sequence[str], names: Sequence[str], styles: Styles, axes: tuple[str, str]
) -> None:
    lines = {name: mine.dropna(subset=[axes[1]]) for name, mine in data.groupby("method", sort=False)}
    gap = np.array([[np.nan, np.nan]])
    behind = [part for name in methods if name in lines for part in (lines[name][list(axes)].to_numpy(float), gap)]
    axis.plot(*np.concatenate(behind).T, color="0.87", linewidth=0.6, zorder=1)
    for place, name in reversed(list(enumerate(names))):
        if name in lines:
            curve(axis, lines[name][axes[0]], lines[name][axes[1]], styles[name], name, place)
    axis.margins(x=0.04)


def _names(axis: Axes, title: str, names: Sequence[str], styles: Styles) -> None:
    handles = [Line2D([], [], label=brief(name), **styles[name].keywords()) for name in names]
    axis.legend(
        handles=handles, title=fill(title, 20), loc="center left", bbox_to_anchor=(1, 0.5), handlelength=2.6,
        fontsize=6, title_fontsize=6.5, alignment="left", labelspacing=0.25,
    )  # fmt: skip
