"""Methods that are still climbing when their runs end."""

import pandas as pd

CHANGE = "convergence_seen_change"
CLIMBING = "↗"
POINTS = 0.02
"""Gain of seen accuracy in the last quarter of the rounds, mean over seeds, from which a method is still climbing.

Where the distance to the final accuracy falls as 1 / rounds, a gain of 2.2 points from 3/4 R to R rounds leaves 5
points from R to 4 R.
"""
FOOTNOTE = f"{CLIMBING}: still climbing, seen accuracy rose by more than 2 points in the last quarter of the rounds"


def climbing(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Whether each method still climbs in these runs, by method; False for records that do not say."""
    changes = runs.get(CHANGE, pd.Series(float("nan"), runs.index))
    return changes.groupby(runs["method"]).mean() > POINTS


def with_climbing(data: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`data`, a row per setting and method, with a column `climbing`."""
    marked = {
        (setting, method): bool(value)
        for setting, part in runs.groupby("setting")
        for method, value in climbing(part).items()
    }
    pairs = zip(data["setting"], data["method"], strict=True)
    return data.assign(climbing=[marked.get(pair, False) for pair in pairs])
