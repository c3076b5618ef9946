"""Accuracy and classes of the individual clients."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.inputs import families
from fedprompt.results.figures.method_styles import Styles, assign
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.parts.families import Lines
from fedprompt.results.figures.parts.lines import curves
from fedprompt.results.figures.parts.panels import panels_by, wrapped
from fedprompt.results.figures.style import ACCURACY, Plot, styled
from fedprompt.results.statistics.summary import ranking

# From light blue, apart from the white of none, to dark blue: in grey, more samples are darker as well.
SAMPLES = ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, 256)))


@styled
def per_client(clients: pd.DataFrame, styles: Styles | None = None, columns: int = 2, style: str | None = None) -> Plot:
    """Accuracy of every seen client, worst first, all seeds pooled, against the share of clients.

    One panel per setting; many methods have one panel per family and setting where there are few settings.
    """
    seen = clients[~clients["held_out"]].dropna(subset=["accuracy"])
    if seen.empty:
        raise MissingDataError("no seen client has test samples: there is no accuracy to draw")
    data = seen.sort_values(["setting", "method", "accuracy", "seed", "client"])
    groups = data.groupby(["setting", "method"])["accuracy"]
    share = 100 * (groups.cumcount() + 0.5) / groups.transform("size")
    data = data.assign(share=share)[["setting", "method", "seed", "client", "share", "accuracy"]]
    methods, styles = ranking(data, "accuracy"), styles or assign(clients["method"])
    shown, labels = data.assign(accuracy=100 * data["accuracy"]), ("seen clients, worst first (%)", ACCURACY)
    lines = Lines(shown, methods, styles, families(clients), ("share", "accuracy"), labels, page_of(style, columns))
    figure, _ = curves(lines)
    figure.data = data
    return figure


@styled
def partition(holders: pd.DataFrame, columns: int = 2, style: str | None = None) -> Plot:
    """Training samples by client and class, held-out clients last; one panel per setting, for its first seed."""
    first = holders.sort_values("seed", kind="stable").drop_duplicates("setting")["run_id"]
    data = holders[holders["run_id"].isin(first)]
    data = data.assign(panel=data["setting"] + ", seed " + data["seed"].astype(str))
    page = page_of(style, columns)
    figure, panels = panels_by(data, "panel", "client", "class", page, 2.6, row=page.columns)
    panels[0][0].set_title(wrapped(data["panel"].iloc[0], page.characters(0.8 / min(page.columns, len(panels)))))
    shown = [rows.sort_values(["held_out", "client"]) for _, rows in panels]
    grids = [np.stack(list(rows["class_counts"])).T for rows in shown]
    norm = LogNorm(1, max(2, *(grid.max() for grid in grids)))
    axes = [axis for axis, _ in panels]
    for axis, rows, grid in zip(axes, shown, grids, strict=True):
        counts = np.ma.masked_equal(grid, 0)
        image = axis.imshow(counts, norm=norm, cmap=SAMPLES, origin="lower", aspect="auto", interpolation="nearest")
        _clients_axis(axis, rows)
    ticks = LogLocator(subs=(1, 2, 5))
    label = "training samples (white: none)"
    figure.colorbar(image, ax=axes, label=label, aspect=40, ticks=ticks, format="%d").minorticks_off()
    figure.data = pd.concat(map(_samples, shown, grids), ignore_index=True)
    return figure


def _clients_axis(axis: Axes, rows: pd.DataFrame) -> None:
    """Label some clients by number, and mark the held-out clients."""
    ticks = np.arange(0, len(rows), max(1, -(-len(rows) // 10)))
    axis.set_xticks(ticks, rows["client"].iloc[ticks].astype(str).tolist())
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.grid(visible=False)
    if held_out := int(rows["held_out"].sum()):
        start, end, above = len(rows) - held_out - 0.5, len(rows) - 0.5, axis.get_xaxis_transform()
        axis.axvline(start, color="black", linewidth=1)
        bar = Line2D([start, end], [1, 1], color="black", lw=3, solid_capstyle="butt", transform=above, clip_on=False)
        axis.add_line(bar)
        axis.text(end, 1.02, "held-out", transform=above, ha="right", va="bottom", fontsize=7)
        axis.set_title(axis.get_title(), pad=14)


def _samples(rows: pd.DataFrame, grid: np.ndarray) -> pd.DataFrame:
    """One row per client and class with training samples."""
    label, place = np.nonzero(grid)
    names = rows[["setting", "seed", "client", "held_out"]].iloc[place].reset_index(drop=True)
    return names.assign(label=label, samples=grid[label, place]).sort_values(["setting", "client", "label"])
