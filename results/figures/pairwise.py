"""Every method against every other: differences, pairs won and adjusted p."""

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.style import CROWD, SEEN, WIDTHS, Plot, brief, styled
from fedprompt.results.statistics.best import all_pairs
from fedprompt.results.statistics.pairs import ALL_SETTINGS, ALPHA, counted, paired, untestable
from fedprompt.results.statistics.summary import finished, ranking


@styled
def pairwise(runs: pd.DataFrame, columns: int = 2, metric: str = SEEN) -> Plot:
    """The mean difference of every two methods over all settings, the pairs won and the adjusted p.

    The row minus the column, in points of the seen clients' mean accuracy or of another `metric`: blue where the row is
    ahead. Below the difference: the share of pairs of runs that the row wins, ties counted half, and p, adjusted by
    max-T over all pairs of methods in all settings, as in tables. Of many methods, only significant pairs have numbers:
    above the diagonal the difference, below it the share of pairs won.

    Raises:
        MissingDataError: There are fewer than two methods.
    """
    done = finished(runs)
    table = paired(done, metric)
    if table.shape[1] < 2:
        raise MissingDataError("a pairwise matrix needs two methods or more")
    rows = all_pairs(table, np.random.default_rng(0))
    data = _both_ways(rows[rows["setting"] == ALL_SETTINGS], table)
    methods = ranking(done, metric)
    crowd = len(methods) > CROWD * columns / 2
    size = min(WIDTHS[columns], 2.6 + (0.2 if crowd else 0.62) * len(methods))
    figure = Plot(figsize=(WIDTHS[columns], 0.9 * size), layout="constrained")
    axis = figure.add_subplot()
    grid = _matrix(data, "difference", methods)
    limit = max(0.1, np.nanmax(np.abs(grid), initial=0.0))
    image = axis.imshow(grid, cmap="RdBu", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=axis, label="row minus column (points)", shrink=0.8)
    names = [brief(name, 18) for name in methods]
    axis.set_xticks(range(len(methods)), names, rotation=90)
    axis.set_yticks(range(len(methods)), names)
    axis.tick_params(length=0, labelsize=5.5 if crowd else 7)
    axis.grid(visible=False)
    cells = size * (0.55 if columns == 1 else 0.72) * 72 / len(methods)  # points per cell
    _numbers(axis, data, methods, min(6.5, cells / (3 if crowd else 4.8)), crowd)
    axis.set_xlabel(fill(_label(table, rows, crowd, metric), 50 if columns == 1 else 100), fontsize=7)
    figure.data = data
    return figure


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


def _numbers(axis: Axes, data: pd.DataFrame, methods: list[str], size: float, crowd: bool) -> None:
    """Writes difference, pairs won and p into the cells."""
    names = ("difference", "won", "pairs", "p_adjusted")
    gaps, won, pairs, p = (_matrix(data, name, methods) for name in names)
    dark = 0.6 * np.nanmax(np.abs(gaps), initial=0.1)
    for i, j in np.argwhere(~np.isnan(gaps)):
        significant = p[i, j] <= ALPHA
        if crowd:
            text = f"{gaps[i, j]:+.0f}" if j > i else f"{100 * won[i, j] / pairs[i, j]:.0f}%"
        else:
            text = f"{gaps[i, j]:+.1f}\n{won[i, j]:g}/{pairs[i, j]:g}\np {p[i, j]:.2g}"
        if significant or not crowd:
            axis.text(
                j, i, text, ha="center", va="center", fontsize=size, linespacing=1.1,
                color="white" if abs(gaps[i, j]) > dark else "black", weight="bold" if significant else "normal",
            )  # fmt: skip


def _label(table: pd.DataFrame, rows: pd.DataFrame, crowd: bool, metric: str) -> str:
    """What the cells show, the family of tests and its limit."""
    settings = table.index.get_level_values("setting").nunique()
    where = f"mean over {settings} settings" if settings > 1 else str(table.index[0][0])
    seeds = table.index.get_level_values("seed").nunique()
    cells = "difference, pairs won, p; bold: significant"
    if crowd:
        cells = "numbers where significant: the difference above the diagonal, pairs won below"
    tests = untestable(seeds) or f"max-T over {counted(len(rows), 'comparison')}, family-wise error 5 %"
    where += f" of {metric}" * (metric != SEEN)
    return f"{where}; {cells}; {tests}"
