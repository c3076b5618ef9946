"""Tidy frame -> leaderboard: methods by cells and metrics."""

from collections.abc import Sequence

import pandas as pd

from results.errors import unknown
from results.render import render
from results.selection import ranking

__all__ = ["COSTS", "METRICS", "PER_RUN", "leaderboard", "render"]

METRICS = ("seen.mean", "seen.worst", "held_out.mean", "prior.seen.mean")
COSTS = ("upload_mb", "seconds")
PER_RUN = "per run"


def leaderboard(frame: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """One row a method, best mean over cells of the first metric first; columns (cell, metric, statistic).

    The statistics are `mean` and `std` (sample; NaN for one seed) over the `seeds` finished runs, and how many runs
    `failed`: a hole has no seed and no failure, a metric that does not apply has seeds but no mean. The last columns,
    under the cell "per run", hold the mean upload and wall-clock of a method's finished runs. Raises RecordError for an
    unknown metric.
    """
    numeric = frame.select_dtypes("number").columns
    for metric in metrics:
        if metric not in numeric:
            raise unknown("metric", metric, numeric)
    done = frame[frame["status"] == "done"]
    columns: dict[tuple[str, str, str], pd.Series] = {}
    for cell in frame["cell"].unique():
        runs = done[done["cell"] == cell].groupby("method")
        failed = frame[(frame["cell"] == cell) & (frame["status"] == "failed")].groupby("method").size()
        for metric in metrics:
            columns[cell, metric, "mean"] = runs[metric].mean()
            columns[cell, metric, "std"] = runs[metric].std()
            columns[cell, metric, "seeds"] = runs["seed"].nunique()
            columns[cell, metric, "failed"] = failed
    for cost in COSTS:
        columns[PER_RUN, cost, "mean"] = done.groupby("method")[cost].mean()
    table = pd.DataFrame(columns, index=pd.Index(_order(frame, done, metrics[0]), name="method"))
    table.columns.names = ["cell", "metric", "statistic"]
    counts = [column for column in table.columns if column[2] in ("seeds", "failed")]
    table = table.fillna(dict.fromkeys(counts, 0)).astype(dict.fromkeys(counts, int))
    table.attrs["trials"] = _trials(frame)
    return table


def _trials(frame: pd.DataFrame) -> dict[str, int]:
    """How many settings were tried of each method that was tuned."""
    if "trials" not in frame:
        return {}
    return {str(method): int(most) for method, most in frame.groupby("method")["trials"].max().dropna().items()}


def _order(frame: pd.DataFrame, done: pd.DataFrame, metric: str) -> list[str]:
    ranked = ranking(done, metric)
    return ranked + sorted(set(frame["method"]) - set(ranked))
