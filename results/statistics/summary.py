"""Summaries of runs: the finished ones, the order of methods, means and intervals over seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError
from fedprompt.results.statistics import inference as stats

MIN_SEEDS = 3  # for an interval: that of two seeds covers the mean in half of all cases


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of finished runs. Raises RecordError if there are none."""
    done = runs[runs["status"] == "done"]
    if done.empty:
        raise RecordError(f"none of the {len(runs)} runs is finished: see their errors with `bench status`")
    return done


def ranking(frame: pd.DataFrame, value: str) -> list[str]:
    """The methods by their mean over settings of `value`, highest first; those without a value come last."""
    settings = frame.groupby(["method", "setting"])[value].mean()
    means = settings.groupby("method").mean().reset_index()
    return list(means.sort_values([value, "method"], ascending=[False, True])["method"])


def over_seeds(frame: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """One row per combination of `by`, in order of appearance, with `mean`, `std` (sample; NaN for one) and `seeds`.

    Ignores rows without a value. Raises RecordError if no row has one.
    """
    rows = frame.dropna(subset=[value])
    if rows.empty:
        raise RecordError(f"no finished run has a value of {value}")
    groups = rows.groupby(list(by), sort=False, dropna=False)
    return groups.agg(mean=(value, "mean"), std=(value, "std"), seeds=("seed", "nunique")).reset_index()


def with_intervals(frame: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """`over_seeds` with the bootstrap interval of the mean: `low`, `high` and the `level` that it can reach.

    All three are NaN for fewer than three seeds.
    """
    means = over_seeds(frame, by, value)
    rows = frame.dropna(subset=[value])
    group_of_row = rows.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()
    values = rows[value].to_numpy(float)[np.argsort(group_of_row, kind="stable")]
    sizes = np.bincount(group_of_row)
    starts = np.cumsum(sizes) - sizes
    bounds = np.full((3, len(sizes)), np.nan)
    for size in np.unique(sizes[sizes >= MIN_SEEDS]):
        groups = np.flatnonzero(sizes == size)
        bounds[:2, groups] = stats.bootstrap_bounds([values[starts[groups, None] + np.arange(size)]], seed=0)
        bounds[2, groups] = stats.reached(int(size))
    return means.assign(low=bounds[0], high=bounds[1], level=bounds[2])
