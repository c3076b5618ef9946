"""Which methods can be called the best: tests of all pairs of methods."""

import numpy as np
import pandas as pd

from fedprompt.results.statistics.multiple import max_t
from fedprompt.results.statistics.pairs import ALL_SETTINGS, ALPHA, seed_shares

BEST, AMONG_BEST, BEHIND = "best", "among the best", "behind"


def all_pairs(table: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """The mean paired difference of every two methods of a table of `pairs.paired`, in every setting and over all.

    Returns one row per setting and pair, with the columns setting, method, other, value (method minus other) and
    p_adjusted: max-T over all rows. Both are NaN if the two share no seed.
    """
    first, second = np.triu_indices(table.shape[1], 1)
    values = table.to_numpy(dtype=float)
    shares = seed_shares(pd.DataFrame(values[:, first] - values[:, second], index=table.index))
    pair = shares.columns.get_level_values(1).to_numpy(dtype=int)
    return pd.DataFrame(
        {
            "setting": shares.columns.get_level_values("setting"),
            "method": table.columns[first[pair]],
            "other": table.columns[second[pair]],
            "value": shares.sum(min_count=1).to_numpy(),
            "p_adjusted": max_t(shares.to_numpy(dtype=float), generator),
        }
    )


def comparisons(methods: int, settings: int) -> int:
    """The size of the family of `all_pairs`."""
    return methods * (methods - 1) // 2 * (settings + (settings > 1))


def marks(table: pd.DataFrame, lower: bool, generator: np.random.Generator) -> pd.DataFrame:
    """The mark of each method with a value, by setting and method; in "all settings" of those with a value in each.

    `mark` is "best": significantly better than every other method; "among the best": no method is significantly better;
    or "behind". `p_best` is the smallest adjusted p of a pair in which another method is better; NaN if none is. If all
    methods are equal, some mark is wrong in at most 5 % of tables: no winner is selected before the test, as all pairs
    are tested.
    """
    rows = all_pairs(table, generator)
    mirrored = rows.rename(columns={"method": "other", "other": "method"}).assign(value=-rows["value"])
    both = pd.concat([rows, mirrored], ignore_index=True)
    valued = table.groupby(level="setting", sort=False).count().gt(0)
    valued.loc[ALL_SETTINGS] = valued.all()
    places = pd.DataFrame({"valued": valued.rename_axis(columns="method").stack()})
    for side in ("method", "other"):
        index = pd.MultiIndex.from_frame(both[["setting", side]])
        both = both[places["valued"].reindex(index).to_numpy(dtype=bool)]
    gain, significant = -both["value"] if lower else both["value"], both["p_adjusted"] <= ALPHA
    both = both.assign(ahead=(gain > 0) & significant, p_best=both["p_adjusted"].where(gain < 0))
    found = both.groupby(["setting", "method"]).agg(p_best=("p_best", "min"), first=("ahead", "all"))
    mark = np.select([found["first"], found["p_best"] <= ALPHA], [BEST, BEHIND], AMONG_BEST)
    return found.assign(mark=mark)[["p_best", "mark"]]
