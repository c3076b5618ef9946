"""Bootstrap intervals of many groups of values at once, and of the differences of all pairs of methods."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.pairs import ALL_SETTINGS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Differences(NamedTuple):
    """Per pair of methods: the mean paired difference, its interval, and the number `n` of pairs of runs."""

    value: Floats
    low: Floats
    high: Floats
    n: Integers


def grouped_bounds(values: Floats, groups: Integers, strata: Integers, number: int, seed: int) -> tuple[Floats, Floats]:
    """The intervals of `inference.bootstrap_mean`, one per group; NaN for a group with too few values.

    Every interval has the resamples of a generator with this `seed`: it does not depend on the other groups.

    Args:
        values: All values, none of them NaN.
        groups: The group of each value, below `number`.
        strata: The stratum (setting) of each value.
        number: The number of groups.
        seed: The seed of the resamples.

    Returns:
        Two arrays [number], the lower and the upper bounds.
    """
    low, high = np.full((2, number), np.nan)
    if not len(values):
        return low, high
    values = values[np.lexsort((strata, groups))]
    counts = np.zeros((number, int(strata.max()) + 1), dtype=int)
    np.add.at(counts, (groups, strata), 1)
    starts = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    patterns, places = np.unique(counts, axis=0, return_inverse=True)
    for place, pattern in enumerate(patterns):
        used, chosen = np.flatnonzero(pattern), np.flatnonzero(places.ravel() == place)
        if pattern.sum() > len(used):
            parts = [values[starts[chosen, stratum, None] + np.arange(pattern[stratum])] for stratum in used]
            low[chosen], high[chosen] = stats.bootstrap_bounds(parts, seed)
    return low, high


def all_differences(table: pd.DataFrame, generator: np.random.Generator) -> dict[str, Differences]:
    """The paired difference of every two methods of a table of `pairs.paired`, in every setting, then over all.

    The pairs are those of `np.triu_indices(methods, 1)`, the first minus the second. The numbers are those of
    `pairs.differences` with an equal generator.
    """
    first, second = np.triu_indices(table.shape[1], 1)
    values, settings = table.to_numpy(float), table.index.get_level_values("setting")
    gaps, seed = values[:, first] - values[:, second], int(generator.integers(2**63))
    strata = np.unique(settings.to_numpy(str), return_inverse=True)[1]
    rows = {str(name): np.flatnonzero(settings == name) for name in dict.fromkeys(settings)}
    rows[ALL_SETTINGS] = np.arange(len(settings))
    return {name: _differences(gaps[chosen], strata[chosen], seed) for name, chosen in rows.items()}


def _differences(gaps: Floats, strata: Integers, seed: int) -> Differences:
    """Of the paired differences [(setting, seed), pairs], NaN for no pair of runs."""
    present, number = ~np.isnan(gaps), gaps.shape[1]
    rows, pairs = np.nonzero(present)
    bounds = grouped_bounds(gaps[rows, pairs], pairs, strata[rows], number, seed)
    parts = [gaps[strata == stratum] for stratum in np.unique(strata)]
    counts = np.array([(~np.isnan(part)).sum(axis=0) for part in parts])
    sums = np.array([np.nansum(part, axis=0) for part in parts])
    with np.errstate(invalid="ignore"):  # a pair of methods may share no run
        means = (sums / counts.clip(1)).sum(axis=0) / (counts > 0).sum(axis=0)
    return Differences(means, *bounds, present.sum(axis=0))
