"""The number of seeds that a comparison needs to detect a difference."""

from bisect import bisect_left
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from fedprompt.results.errors import RecordError
from fedprompt.results.statistics.inference import pairs_needed
from fedprompt.results.statistics.pairs import ALPHA, paired

POWER = 0.8


def power(seeds: int, effect: float) -> float:
    """The power of a two-sided paired t test at 5 %; `effect` is the true difference in units of the spread."""
    freedom, shift = seeds - 1, effect * np.sqrt(seeds)
    threshold = stats.t.ppf(1 - ALPHA / 2, freedom)
    return float(stats.nct.sf(threshold, freedom, shift) + stats.nct.cdf(-threshold, freedom, shift))


def seeds_needed(difference: float, spread: float) -> int:
    """The least number of seeds with a power of 80 % for a mean paired difference of this size.

    `spread` is the standard deviation of the differences over seeds. At least 6: fewer seeds cannot give p <= 0.05.
    """
    least = pairs_needed()
    if spread == 0:
        return least
    effect = difference / spread
    # That of a normal test with known spread; the t test needs at most a few more.
    normal = int(((stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)) / effect) ** 2)
    return bisect_left(range(least + normal + 10), True, lo=least, key=lambda seeds: power(seeds, effect) >= POWER)


def detection(runs: pd.DataFrame, metric: str, difference: float) -> pd.DataFrame:
    """The seeds needed per setting to detect a `difference` between two methods.

    The spread is that of the paired differences of every two methods with two seeds in common. Returns one row per
    setting: the number of pairs, spread_median and spread_worst, seeds_median and seeds_worst, and the worst pair as
    method and other. Raises RecordError if no two methods have two seeds in common.
    """
    rows = []
    for setting, part in paired(runs, metric).groupby(level="setting", sort=False):
        names = list(combinations(part.columns, 2))
        spreads = np.array([(part[a] - part[b]).std() for a, b in names])
        if not (known := ~np.isnan(spreads)).any():
            continue
        worst = int(np.nanargmax(spreads))
        sizes = {"median": float(np.median(spreads[known])), "worst": float(spreads[worst])}
        row = {"setting": setting, "pairs": int(known.sum())}
        row |= {f"spread_{kind}": spread for kind, spread in sizes.items()}
        row |= {f"seeds_{kind}": seeds_needed(difference, spread) for kind, spread in sizes.items()}
        rows.append(row | {"method": names[worst][0], "other": names[worst][1]})
    if not rows:
        raise RecordError(f"no two methods have two finished seeds in common: the spread of {metric} is unknown")
    return pd.DataFrame(rows)
