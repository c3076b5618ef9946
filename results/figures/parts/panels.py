"""Panels of a figure and the legend below them."""

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fedprompt.results.figures.method_styles import Styles
from fedprompt.results.figures.pages import Page
from fedprompt.results.figures.style import Plot

LETTERS = 16  # per inch, at the size of labels and titles
WORD = 16  # characters of a line that a narrow panel may have, such as `dirichlet(0.05)`
INDENT = 0.5  # inches beside and below a panel for its ticks and labels


def panels(
    names: Sequence[str],
    xlabel: str,
    ylabel: str,
    page: Page,
    height: float = 2.4,
    row: int | None = None,
    beside: float = INDENT,
) -> tuple[Plot, list[Axes]]:
    """An empty figure with one panel per name.

    Args:
        names: Titles of the panels. A single panel has no title.
        xlabel: Label of the bottom panels.
        ylabel: Label of the left panels.
        page: The room for the figure.
        height: Height of a panel in inches.
        row: Panels per row; default: 1 in one column of a page, 3 in two.
        beside: Inches left of the panels for ticks and labels.
    """
    across = min(len(names), row or 2 * page.columns - 1)
    down = -(-len(names) // across)
    figure = Plot(figsize=(page.width, down * height), layout="constrained")
    axes = [figure.add_subplot(down, across, i + 1) for i in range(len(names))]
    room = int(LETTERS * (page.width - beside) / across)
    for i, (axis, name) in enumerate(zip(axes, names, strict=True)):
        if i >= len(names) - across:
            axis.set_xlabel(fill(xlabel, room))
        if i % across == 0:
            axis.set_ylabel(fill(ylabel, int(LETTERS * (height - INDENT))))
        if len(names) > 1:
            axis.set_title(wrapped(name, room))
    return figure, axes


def panels_by(
    data: pd.DataFrame,
    by: str,
    xlabel: str,
    ylabel: str,
    page: Page,
    height: float = 2.4,
    row: int | None = None,
    beside: float = INDENT,
) -> tuple[Plot, list[tuple[Axes, pd.DataFrame]]]:
    """`panels` with one panel per value of the column `by`, each with its rows of `data`, in order of appearance."""
    groups = {str(name): rows for name, rows in data.groupby(by, sort=False)}
    figure, axes = panels(list(groups), xlabel, ylabel, page, height, row, beside)
    return figure, list(zip(axes, groups.values(), strict=True))


def wrapped(name: str, room: int) -> str:
    """The name in lines of at most `room` characters, or `WORD` if that is more; only longer words are split."""
    room = max(room, WORD)
    return fill(name, room, break_on_hyphens=any(len(word) > room for word in name.split()))


def brief(name: str, most: int = 26) -> str:
    """The name, shortened to `most` characters."""
    return name if len(name) <= most else f"{name[: most - 3]}..."


def legend(figure: Plot, methods: Sequence[str], styles: Styles, lines: bool = True, note: str = "") -> None:
    """Add a legend below the panels, of markers and, with `lines`, their lines; the figure grows in height.

    The methods are in order, column by column; `note` is the legend's title.
    """
    # In inches: width of a letter, width of a marker and of gaps, height of a row.
    letter, rest, line = 0.06, 0.55 if lines else 0.37, 0.14
    most = int((figure.get_figwidth() - rest) / letter)
    widest = min(most, max(len(name) for name in methods))
    columns = max(1, min(len(methods), int(figure.get_figwidth() / (letter * widest + rest))))
    rows = -(-len(methods) // columns)
    figure.set_figheight(figure.get_figheight() + line * (rows + len(note.splitlines())))
    handles = [Line2D([], [], label=brief(name, most), **styles[name].keywords(lines)) for name in methods]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=3 if lines else 1, title=note or None,
        labelspacing=0.25,
    )  # fmt: skip
