"""Confidence intervals over seeds: error bars, and a note on what they show."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray


def error_bars(axis: Axes, x: Any, y: Any, **keywords: Any) -> None:
    """`Axes.errorbar` with the thin bars of all figures."""
    axis.errorbar(x, y, elinewidth=0.8, capsize=1.5, **keywords)


def bars(data: pd.DataFrame) -> NDArray[np.float64]:
    """Lengths of the error bars below and above each mean, [2, rows] in percent; 0 without an interval."""
    lengths = np.stack([data["mean"] - data["low"], data["high"] - data["mean"]])
    return 100 * np.nan_to_num(lengths).clip(0)  # rounding may put the end of an interval beside an equal mean


def note(data: pd.DataFrame) -> str:
    """What means and bars show, for a legend; empty without intervals."""
    drawn = data.dropna(subset=["low"]) if "low" in data else data[:0]
    if drawn.empty:
        return ""
    seeds, percent = _span(drawn["seeds"]), _span((100 * drawn["level"]).round(1))
    return f"mean over {seeds} seeds, with its {percent} % bootstrap interval"


def _span(values: "pd.Series[float]") -> str:
    low, high = f"{values.min():g}", f"{values.max():g}"
    return low if low == high else f"{low} to {high}"
