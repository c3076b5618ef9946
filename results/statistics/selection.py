"""Tidy frame -> the rows and summaries that tables and figures show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError
from fedprompt.results.statistics import inference as stats

LEAST = 3  # seeds that an interval is drawn of: two tell half the truth at best


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that ended well; a RecordError where there is none."""
    done = runs[runs["status"] == "done"]
    if done.empty:
        raise RecordError(f"none of the {len(runs)} runs is finished: see their errors with `bench status`")
    return done


def ranking(frame: pd.DataFrame, value: str) -> list[str]:
    """The methods of the frame by their mean over settings of `value`, highest first; those without a value last."""
    settings = frame.groupby(["method", "setting"])[value].mean()
    means = settings.groupby("method").mean().reset_index()
    return list(means.sort_values([value, "method"], ascending=[False, True])["method"])


def over_seeds(frame: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """One row for each combination of `by`, in order of appearance: `mean`, `std` (sample, NaN for one), `seeds`.

    Rows without a value count for nothing; a RecordError where no row has one.
    """
    rows = frame.dropna(subset=[value])
    if rows.empty:
        raise RecordError(f"no finished run has a value of {value}")
    groups = rows.groupby(list(by), sort=False, dropna=False)
    return groups.agg(mean=(value, "mean"), std=(value, "std"), seeds=("seed", "nunique")).reset_index()


def with_intervals(frame: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """`over_seeds` with the bootstrap interval of the mean over seeds: `low`, `high`, and the `level` it can reach.

    All three are NaN below three seeds.
    """
    data = over_seeds(frame, by, value)
    rows = frame.dropna(subset=[value])
    place = rows.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()
    values = rows[value].to_numpy(float)[np.argsort(place, kind="stable")]
    sizes = np.bincount(place)
    starts, generator = np.cumsum(sizes) - sizes, np.random.default_rng(0)
    found = np.full((3, len(sizes)), np.nan)
    for size in np.unique(sizes[sizes >= LEAST]):
        groups = np.flatnonzero(sizes == size)
        found[:2, groups] = stats.bootstrap_bounds(values[starts[groups, None] + np.arange(size)], generator)
        found[2, groups] = stats.reached(int(size))
    return data.assign(low=found[0], high=found[1], level=found[2])
