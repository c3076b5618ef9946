"""The paired differences of two methods, for all pairs of as many methods as fit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.report.scores import once
from fedprompt.results.statistics.grouped import all_differences
from fedprompt.results.statistics.pairs import paired

MAX_INTERVALS = 25_000  # they take about a second


def differences(done: pd.DataFrame, metrics: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    """Per metric and setting, then over all settings, of each pair of methods: [value, low, high, pairs of runs].

    The first methods of the ranking are compared, as many as `MAX_INTERVALS` allows: `methods` of the result. A pair is
    at the place of `np.triu_indices`. Differences are in percentage points, the first method minus the second.
    """
    valued = [metric for metric in metrics if done[metric].notna().any()]
    per_pair = max(1, len(valued) * (done["setting"].nunique() + 1))
    most = next(count for count in range(len(methods), -1, -1) if count * (count - 1) // 2 * per_pair <= MAX_INTERVALS)
    chosen = list(methods[:most])
    runs = done[done["method"].isin(chosen)]
    return {"methods": chosen, "rows": {metric: _rows(runs, metric, chosen) for metric in valued}}


def _rows(runs: pd.DataFrame, metric: str, methods: Sequence[str]) -> dict[str, list[list[float | None]]]:
    rows: dict[str, list[list[float | None]]] = {}
    if len(methods) < 2:
        return rows
    table = paired(runs, metric).reindex(columns=list(methods))
    for setting, found in all_differences(table, np.random.default_rng(0)).items():
        columns = ([once(number) for number in part.tolist()] for part in (found.value, found.low, found.high))
        rows[setting] = [list(row) for row in zip(*columns, found.n.tolist(), strict=True)]
    return rows
