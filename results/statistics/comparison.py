"""The comparison of two methods in the families of comparisons that outputs show."""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from fedprompt.results.statistics.best import all_pairs
from fedprompt.results.statistics.inference import Estimate
from fedprompt.results.statistics.pairs import (
    differences,
    lower_is_better,
    paired,
    practical,
    probability_of_improvement,
)

Family = Literal["pair", "all"]


class Comparison(NamedTuple):
    """Method `a` minus method `b`.

    `rows` are those of `pairs.differences`, adjusted for the `family`: "pair" (these rows) or "all" (all methods minus
    b, a table's). They have p adjusted for the two families of tables, too: `p_reference` (all methods minus b) and
    `p_all_pairs`; and with a `margin`, the verdict `practical`. `methods` counts all methods.
    """

    a: str
    b: str
    metric: str
    family: Family
    margin: float | None
    rows: pd.DataFrame
    improvement: Estimate
    methods: int


def compare(
    runs: pd.DataFrame, metric: str, a: str, b: str, family: Family = "pair", margin: float | None = None
) -> Comparison:
    """Compares two methods in every setting. Raises RecordError for an unknown method or metric."""
    rows = differences(runs, metric, b, np.random.default_rng(0), [a])
    table = paired(runs, metric)
    others = differences(runs, metric, b, np.random.default_rng(0))
    others = others[others["method"] == a].reset_index(drop=True)
    pairs = all_pairs(table, np.random.default_rng(0))
    this = pairs[pairs["method"].isin((a, b)) & pairs["other"].isin((a, b))].set_index("setting")["p_adjusted"]
    rows = others if family == "all" else rows
    rows = rows.assign(p_reference=others["p_adjusted"], p_all_pairs=rows["setting"].map(this))
    if margin is not None:
        rows = practical(rows, margin, lower_is_better(metric))
    improvement = probability_of_improvement(runs, metric, a, b)
    return Comparison(a, b, metric, family, margin, rows, improvement, table.shape[1])
