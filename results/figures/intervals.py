"""Intervals over seeds, as error bars and in words."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def bars(data: pd.DataFrame) -> NDArray[np.float64]:
    """How far the interval reaches below and above each mean, [2, rows] in percent; 0 where there is none."""
    reach = np.stack([data["mean"] - data["low"], data["high"] - data["mean"]])
    return 100 * np.nan_to_num(reach)


def note(data: pd.DataFrame) -> str:
    """What is drawn about the means, for a legend; empty where no mean has an interval."""
    drawn = data.dropna(subset=["low"]) if "low" in data else data[:0]
    if drawn.empty:
        return ""
    seeds, percent = _span(drawn["seeds"]), _span((100 * drawn["level"]).round(1))
    return f"mean over {seeds} seeds, with its bootstrap interval of {percent} %"


def _span(values: "pd.Series[float]") -> str:
    low, high = f"{values.min():g}", f"{values.max():g}"
    return low if low == high else f"{low} to {high}"
