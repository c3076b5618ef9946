"""Every method against every other: differences, pairs won and adjusted p."""

from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.method_styles import CROWD
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.parts.panels import brief
from fedprompt.results.figures.style import SEEN, SMALL, Plot, styled
from fedprompt.results.statistics.best import all_pairs
from fedprompt.results.statistics.pairs import ALL_SETTINGS, ALPHA, counted, paired, untestable
from fedprompt.results.statistics.summary import finished, ranking

DIFFERENCES = colormaps["RdBu"].with_extremes(bad="0.8")  # the diagonal is grey: white is a difference of zero


class Cell(NamedTuple):
    """What a cell shows, and its least width and its height in inches."""

    meaning: str
    width: float
    height: float


FULL = Cell("difference, pairs won, p; bold: significant", 0.52, 0.44)
SHORT = Cell("numbers where significant: the difference above the diagonal, pairs won below", 0.3, 0.16)
DOT = Cell("dots: significant", 0, 0.125)
CELLS = (FULL, SHORT, DOT)


@styled
def pairwise(runs: pd.DataFrame, columns: int = 2, metric: str = SEEN, style: str | None = None) -> Plot:
    """The mean difference of every two methods over all settings, the pairs won and the adjusted p.

    The row minus the column, in points of the seen clients' mean accuracy or of another `metric`: blue where the row is
    ahead. Below the difference: the share of pairs of runs that the row wins, ties counted half, and p, adjusted by
    max-T over all pairs of methods in all settings, as in tables. In smaller cells, only significant pairs have
    numbers: above the diagonal the difference, below it the share of pairs won. In the smallest, they have a dot.

    Raises:
        MissingDataError: There are fewer than two methods.
    """
    done = finished(runs)
    table = paired(done, metric)
    if table.shape[1] < 2:
        raise MissingDataError("a pairwise matrix needs two methods or more")
    rows = all_pairs(table, np.random.default_rng(0))
    data = _both_ways(rows[rows["setting"] == ALL_SETTINGS], table)
    methods, page = ranking(done, metric), page_of(style, columns)
    names = [brief(name, 18) for name in methods]
    beside = 0.065 * max(map(len, names)) + 0.15  # inches, of the names at 7 points
    width = (page.width - beside) / len(methods)
    kind = next(kind for kind in CELLS if width >= kind.width)
    label = fill(_label(table, rows, kind.meaning, metric), page.characters(1 - beside / page.width))
    around = beside + 0.65 + 0.12 * (1 + label.count("\n"))
    figure = Plot(figsize=(page.width, kind.height * len(methods) + around), layout="constrained")
    axis = figure.add_subplot()
    grid = _matrix(data, "difference", methods)
    # Of many methods, a few that are far behind would leave all others white.
    limit = max(0.1, float(np.nanquantile(np.abs(grid), 0.8 if len(methods) > CROWD else 1)))
    image = axis.imshow(grid, cmap=DIFFERENCES, vmin=-limit, vmax=limit, aspect="auto")
    bar = figure.colorbar(
        image, ax=axis, label="row minus column (points)", location="bottom", aspect=40, pad=0.02,
        extend="both" if limit < np.nanmax(np.abs(grid)) else "neither",
    )  # fmt: skip
    bar.outline.set_visible(False)
    _name(axis, names, width)
    _fill(axis, data, methods, kind, 0.6 * limit)
    axis.set_xlabel(label, fontsize=SMALL)
    figure.data = data
    return figure


def _name(axis: Axes, names: list[str], width: float) -> None:
    """Name rows and columns; number them where a column, `width` inches wide, has no room for its name."""
    places = range(len(names))
    if width >= 0.12:
        axis.set_xticks(places, names, rotation=90)
        axis.set_yticks(places, names)
    else:
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, len(names)) if step * width >= 0.2)
        axis.set_xticks(places[step - 1 :: step], [str(i + 1) for i in places[step - 1 :: step]])
        axis.set_yticks(places, [f"{name} {i + 1}" for i, name in enumerate(names)])
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)


def _both_ways(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """One row per ordered pair of methods: the difference in points, the pairs, those won and the adjusted p."""
    listed: list[dict[str, Any]] = []
    for row in rows.to_dict("records"):
        gaps = (table[row["method"]] - table[row["other"]]).dropna()
        for one, other, sign in ((row["method"], row["other"], 1), (row["other"], row["method"], -1)):
            won = float((sign * gaps > 0).sum() + (gaps == 0).sum() / 2)
            listed.append(
                {"method": one, "other": other, "difference": 100 * sign * row["value"], "won": won, "pairs": len(gaps)}
                | {"p_adjusted": row["p_adjusted"]}
            )
    return pd.DataFrame(listed)


def _matrix(data: pd.DataFrame, value: str, methods: list[str]) -> np.ndarray:
    return data.pivot(index="method", columns="other", values=value).reindex(methods, columns=methods).to_numpy(float)


def _fill(axis: Axes, data: pd.DataFrame, methods: list[str], kind: Cell, dark: float) -> None:
    """Write numbers into the cells, or dots: in white where the difference is above `dark`."""
    gaps, won, pairs, p = (_matrix(data, name, methods) for name in ("difference", "won", "pairs", "p_adjusted"))
    for i, j in np.argwhere(~np.isnan(gaps)):
        significant, colour = p[i, j] <= ALPHA, "white" if abs(gaps[i, j]) > dark else "black"
        if kind is FULL:
            text = f"{gaps[i, j]:+.1f}\n{won[i, j]:g}/{pairs[i, j]:g}\np {p[i, j]:.2g}"
        else:
            text = f"{gaps[i, j]:+.0f}" if j > i else f"{100 * won[i, j] / pairs[i, j]:.0f}%"
        if kind is DOT and significant:
            axis.plot(j, i, ".", color=colour, markersize=2.5)
        elif kind is FULL or significant:
            weight = "bold" if significant and kind is FULL else "normal"
            axis.text(
                j, i, text, ha="center", va="center", fontsize=SMALL, linespacing=1.1, color=colour, weight=weight
            )


def _label(table: pd.DataFrame, rows: pd.DataFrame, cells: str, metric: str) -> str:
    """What the cells show, the family of tests and its limit."""
    settings = table.index.get_level_values("setting").nunique()
    where = f"mean over {settings} settings" if settings > 1 else str(table.index[0][0])
    seeds = table.index.get_level_values("seed").nunique()
    tests = untestable(seeds) or f"max-T over {counted(len(rows), 'comparison')}, family-wise error 5 %"
    where += f" of {metric}" * (metric != SEEN)
    return f"{where}; {cells}; {tests}"
