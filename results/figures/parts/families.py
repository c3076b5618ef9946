"""Line charts of many methods: one row of panels per family, one column per setting, other methods in grey."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from fedprompt.results.figures.method_styles import Style, Styles
from fedprompt.results.figures.pages import Page
from fedprompt.results.figures.parts.panels import brief, wrapped
from fedprompt.results.figures.style import SMALL, Plot

FEW_SETTINGS = 2  # per column of a page; more panels side by side would be too narrow
MAX_COLOURED = 8  # methods per panel
LINE, GAP = 0.12, 0.14  # inches: height of a name in a legend, and between panels
LONGEST = {1: 20, 2: 26}  # characters of a name, by columns of the page


class Lines(NamedTuple):
    """The input of a line chart: one line per method and setting.

    Attributes:
        data: The points, with columns `setting` and `method`.
        methods: The methods, best first.
        styles: The methods' styles.
        families: The methods' families.
        axes: The columns of `data` on the x and y axes.
        labels: The labels of the x and y axes.
        page: The room for the figure.
    """

    data: pd.DataFrame
    methods: Sequence[str]
    styles: Styles
    families: Mapping[str, str]
    axes: tuple[str, str]
    labels: tuple[str, str]
    page: Page


def by_family(lines: Lines) -> tuple[Plot, list[Axes]]:
    """Draw one row of panels per family, and return the figure and its panels.

    The legend at the right of each row names its methods, best first. All panels share their axes. With one setting,
    a page of two columns has two families side by side.
    """
    data, methods, styles, families, axes, labels, page = lines
    settings, groups = list(dict.fromkeys(data["setting"])), grouped(methods, families)
    groups_per_row = max(1, page.columns // len(settings))
    down, across = -(-len(groups) // groups_per_row), len(settings) * groups_per_row
    titles = [wrapped(title, LONGEST[page.columns]) for title, _ in groups]
    lines_of = [1 + title.count("\n") + len(names) for title, (_, names) in zip(titles, groups, strict=True)]
    heights = [LINE * max(6, *lines_of[i : i + groups_per_row]) for i in range(0, len(groups), groups_per_row)]
    figure = Plot(
        figsize=(page.width, sum(heights) + GAP * down + 0.5), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.03)
    )
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False, height_ratios=heights)
    for place, (title, (_, names)) in enumerate(zip(titles, groups, strict=True)):
        row, left = place // groups_per_row, place % groups_per_row * len(settings)
        panels = grid[row, left : left + len(settings)]
        for axis, setting in zip(panels, settings, strict=True):
            _panel(axis, data[data["setting"] == setting], methods, names, styles, axes)
            if row == 0 and len(settings) > 1:
                axis.set_title(wrapped(setting, page.characters(0.8 / (across + 1))), fontsize=SMALL)
        _names(panels[-1], title, {name: brief(name, LONGEST[page.columns]) for name in names}, styles)
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
    """Groups of at most `MAX_COLOURED` methods with their families' names, large families first.

    A larger family is split into parts of nearly equal size; adjacent small families share a group.
    """
    by_name: dict[str, list[str]] = {}
    for name in methods:
        by_name.setdefault(families.get(name, ""), []).append(name)
    groups: list[tuple[str, list[str]]] = []
    for family, names in sorted(by_name.items(), key=lambda item: -len(item[1])):
        for part in np.array_split(np.array(names, dtype=object), -(-len(names) // MAX_COLOURED)):
            if groups and groups[-1][0] != family and len(groups[-1][1]) + len(part) <= MAX_COLOURED:
                groups[-1] = (", ".join(filter(None, (groups[-1][0], family))), [*groups[-1][1], *part])
            else:
                groups.append((family, list(part)))
    return groups


def curve(axis: Axes, x: "pd.Series[float]", y: "pd.Series[float]", look: Style, label: str, place: int) -> None:
    """Draw a method's line; `place` shifts its markers, so that those of close lines do not hide each other."""
    every = max(1, len(x) // 6)
    axis.plot(x, y, label=label, markevery=(place % every, every), **look.keywords())


def _panel(
    axis: Axes, data: pd.DataFrame, methods: Sequence[str], names: Sequence[str], styles: Styles, axes: tuple[str, str]
) -> None:
    lines = {name: rows.dropna(subset=[axes[1]]) for name, rows in data.groupby("method", sort=False)}
    gap = np.array([[np.nan, np.nan]])
    grey = [part for name in methods if name in lines for part in (lines[name][list(axes)].to_numpy(float), gap)]
    axis.plot(*np.concatenate(grey).T, color="0.87", linewidth=0.6, zorder=1)
    for place, name in reversed(list(enumerate(names))):
        if name in lines:
            curve(axis, lines[name][axes[0]], lines[name][axes[1]], styles[name], name, place)
    axis.margins(x=0.04)


def _names(axis: Axes, title: str, names: Mapping[str, str], styles: Styles) -> None:
    """Add a legend right of a panel; `names` are those of the methods as shown."""
    handles = [Line2D([], [], label=shown, **styles[name].keywords()) for name, shown in names.items()]
    axis.legend(
        handles=handles, title=title, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=2.6,
        alignment="left", labelspacing=0.1, borderaxespad=0.3,
    )  # fmt: skip
