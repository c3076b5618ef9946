"""What each client gets: its accuracy, and the classes it holds."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, MaxNLocator

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.accuracy import ACCURACY
from fedprompt.results.figures.families import Lines
from fedprompt.results.figures.lines import curves, families
from fedprompt.results.figures.style import Plot, Styles, assign, panels, styled
from fedprompt.results.statistics.selection import ranking


@styled
def per_client(clients: pd.DataFrame, styles: Styles | None = None, columns: int = 2) -> Plot:
    """Accuracy of every seen client, worst first, all seeds pooled; one panel a cell, x the share of clients.

    With many methods a panel a family and cell, where the cells are few enough for that.
    """
    seen = clients[~clients["held_out"]].dropna(subset=["accuracy"])
    if seen.empty:
        raise MissingDataError("no seen client has test samples: there is no accuracy to draw")
    data = seen.sort_values(["cell", "method", "accuracy", "seed", "client"])
    order = data.groupby(["cell", "method"])["accuracy"]
    share = 100 * (order.cumcount() + 0.5) / order.transform("size")
    data = data.assign(share=share)[["cell", "method", "seed", "client", "share", "accuracy"]]
    methods, styles = ranking(data, "accuracy"), styles or assign(clients["method"])
    shown, labels = data.assign(accuracy=100 * data["accuracy"]), ("seen clients, worst first (%)", ACCURACY)
    lines = Lines(shown, methods, styles, families(clients), ("share", "accuracy"), labels, columns)
    figure, _ = curves(lines, ends_apart=False)
    figure.data = data
    return figure


@styled
def partition(holders: pd.DataFrame, columns: int = 2) -> Plot:
    """Who holds which classes: training samples by client and class, held-out clients last; one panel a cell.

    The partition shown is that of the cell's first seed.
    """
    runs = holders.sort_values("seed", kind="stable").drop_duplicates("cell").set_index("cell")["run_id"]
    cells = list(dict.fromkeys(holders["cell"]))
    figure, axes = panels(cells, "client", "class", columns, 2.6, row=columns)
    shown = {cell: holders[holders["run_id"] == runs[cell]].sort_values(["held_out", "client"]) for cell in cells}
    grids = {cell: np.stack(list(rows["class_counts"])).T for cell, rows in shown.items()}
    norm = LogNorm(1, max(2, *(grid.max() for grid in grids.values())))
    for axis, cell in zip(axes, cells, strict=True):
        counts = np.ma.masked_equal(grids[cell], 0)
        image = axis.imshow(counts, norm=norm, cmap="viridis_r", origin="lower", aspect="auto", interpolation="nearest")
        _clients_axis(axis, shown[cell])
    figure.colorbar(image, ax=axes, label="training samples", aspect=40, ticks=LogLocator(subs=(1, 2, 5)), format="%d")
    figure.data = pd.concat([_held(shown[cell], grids[cell]) for cell in cells], ignore_index=True)
    return figure


def _clients_axis(axis: Axes, rows: pd.DataFrame) -> None:
    """Client numbers at some clients, and a mark over those held out."""
    ticks = np.arange(0, len(rows), max(1, -(-len(rows) // 10)))
    axis.set_xticks(ticks, rows["client"].iloc[ticks].astype(str).tolist())
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.grid(visible=False)
    if held := int(rows["held_out"].sum()):
        start, end, above = len(rows) - held - 0.5, len(rows) - 0.5, axis.get_xaxis_transform()
        axis.axvline(start, color="black", linewidth=1)
        axis.plot(
            [start, end], [1, 1], color="black", linewidth=3, solid_capstyle="butt", transform=above, clip_on=False
        )
        axis.text(end, 1.02, "held-out", transform=above, ha="right", va="bottom", fontsize=7)
        axis.set_title(axis.get_title(), pad=14)


def _held(rows: pd.DataFrame, grid: np.ndarray) -> pd.DataFrame:
    """One row for each client and class of which it has training samples."""
    label, place = np.nonzero(grid)
    names = rows[["cell", "seed", "client", "held_out"]].iloc[place].reset_index(drop=True)
    return names.assign(label=label, samples=grid[label, place]).sort_values(["cell", "client", "label"])
