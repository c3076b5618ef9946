"""The common look of all figures: fonts, sizes and the accuracy axis."""

from io import BytesIO
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

SEEN = "seen.mean"
"""The metric that figures show by default."""
ACCURACY = "accuracy of seen clients (%)"
SMALL = 7  # points, of the smallest font in print
RC: dict[Any, Any] = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "font.size": 8,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "savefig.dpi": 200,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
}

styled = rc_context(RC)


class Plot(Figure):
    """A figure with the numbers it shows as `data`; notebooks display it without pyplot."""

    data: pd.DataFrame

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        with rc_context(RC):
            self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()


def axis_label(metric: str) -> str:
    """The label of an axis with this accuracy."""
    return ACCURACY if metric == SEEN else f"{metric} (%)"
