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
from fedprompt.results.statistics.summary import ranking


@styled
def per_client(clients: pd.DataFrame, styles: Styles | None = None, columns: int = 2) -> Plot:
    """Accuracy of every seen client, worst first, all seeds pooled; one panel a setting, x the share of clients.

    With many methods a panel a family and setting, where the settings are few enough for that.
    """
    seen = clients[~clients["held_out"]].dropna(subset=["accuracy"])
    if seen.empty:
        raise MissingDataError("no seen client has test samples: there is no accuracy to draw")
    data = seen.sort_values(["setting", "method", "accuracy", "seed", "client"])
    order = data.groupby(["setting", "method"])["accuracy"]
    share = 100 * (order.cumcount() + 0.5) / order.transform("size")
    data = data.assign(share=share)[["setting", "method", "seed", "client", "share", "accuracy"]]
    methods, styles = ranking(data, "accuracy"), styles or assign(clients["method"])
    shown, labels = data.assign(accuracy=100 * data["accuracy"]), ("seen clients, worst first (%)", ACCURACY)
    lines = Lines(shown, methods, styles, families(clients), ("share", "accuracy"), labels, columns)
    figure, _ = curves(lines, ends_apart=False)
    figure.data = data
    return figure


@styled
def partition(holders: pd.DataFrame, columns: int = 2) -> Plot:
    """Who holds which classes: training samples by client and class, held-out clients last; one panel a setting.

    The partition shown is that of the setting's first seed.
    """
    runs = holders.sort_values("seed", kind="stable").drop_duplicates("setting").set_index("setting")["run_id"]
    settings = list(dict.fromkeys(holders["setting"]))
    figure, axes = panels(settings, "client", "class", columns, 2.6, row=columns)
    shown = {
        setting: holders[holders["run_id"] == runs[setting]].sort_values(["held_out", "client"]) for setting in settings
    }
    grids = {setting: np.stack(list(rows["class_counts"])).T for setting, rows in shown.items()}
    norm = LogNorm(1, max(2, *(grid.max() for grid in grids.values())))
    for axis, setting in zip(axes, settings, strict=True):
        counts = np.ma.masked_equal(grids[setting], 0)
        image = axis.imshow(counts, norm=norm, cmap="viridis_r", origin="lower", aspect="auto", interpolation="nearest")
        _clients_axis(axis, shown[setting])
    figure.colorbar(image, ax=axes, label="training samples", aspect=40, ticks=LogLocator(subs=(1, 2, 5)), format="%d")
    figure.data = pd.concat([_held(shown[setting], grids[setting]) for setting in settings], ignore_index=True)
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
    names = rows[["setting", "seed", "client", "held_out"]].iloc[place].reset_index(drop=True)
    return names.assign(label=label, samples=grid[label, place]).sort_values(["setting", "client", "label"])
