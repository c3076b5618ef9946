"""Paired comparisons of methods: runs that share setting and seed, or clients within one run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError, check_known
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.summary import finished

ALPHA = 1 - stats.LEVEL
ALL_SETTINGS = "all settings"
BETTER, WORSE, NOT_SIGNIFICANT = "better", "worse", "not significant"
LOWER = ("upload_mb", "download_mb", "seconds", "shared_parameters", "local_parameters", "never_trained")


def lower_is_better(metric: str) -> bool:
    """True for costs and for the spread over clients."""
    return metric in LOWER or metric.endswith(".std")


def is_accuracy(metric: str) -> bool:
    """Whether a metric is a share in [0, 1], shown in percent; otherwise it is a cost or a count."""
    return "." in metric and not metric.endswith(".clients")


def check_metrics(runs: pd.DataFrame, metrics: Sequence[str], kind: str = "metric") -> None:
    """Raises RecordError for a metric that is not a numeric column of `runs`."""
    check_known(kind, metrics, runs.select_dtypes("number").columns)


def counted(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def paired(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The metric with one row per (setting, seed) and one column per method, in order of appearance; NaN for no value.

    Raises RecordError for an unknown metric and if no run is finished.
    """
    check_metrics(runs, [metric])
    table = finished(runs).pivot_table(index=["setting", "seed"], columns="method", values=metric, sort=False)
    return table.reindex(columns=list(dict.fromkeys(runs["method"])))


def differences(
    runs: pd.DataFrame,
    metric: str,
    reference: str,
    generator: np.random.Generator,
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The mean paired difference of each method minus the reference, per setting and over all settings.

    Holm's correction is over all rows of the settings, and separately over all rows of "all settings".

    Args:
        runs: a frame as of `load`.
        methods: compare only these (default: all).

    Returns:
        One row per setting and method, then one per method for "all settings", with the columns setting, method, value,
        low, high, n (pairs), p (sign flips), least (the smallest p of n pairs), p_holm and verdict: "better", "worse"
        or "not significant"; for costs, lower is better.

    Raises:
        RecordError: for an unknown method or metric.
    """
    table = paired(runs, metric)
    check_known("method", [reference, *(methods or ())], table.columns)
    others = [name for name in methods or table.columns if name != reference]
    seed = int(generator.integers(2**63))  # one for all: an interval does not depend on which methods are compared
    rows = []
    for setting, part in [*table.groupby(level="setting", sort=False), (ALL_SETTINGS, table)]:
        for method in others:
            both = part[[method, reference]].dropna()
            settings = both.index.get_level_values("setting")
            difference = stats.paired_difference(both[method], both[reference], np.random.default_rng(seed), settings)
            rows.append({"setting": setting, "method": method, **difference._asdict()})
    frame = pd.DataFrame(rows, columns=["setting", "method", *stats.Difference._fields])
    return with_verdicts(frame, lower_is_better(metric), family=frame["setting"] == ALL_SETTINGS)


def per_client(clients: pd.DataFrame, method: str, reference: str, generator: np.random.Generator) -> pd.DataFrame:
    """Accuracy of seen clients, method minus reference, paired by client within each setting and seed.

    This answers another question than `differences`: whether two trained models differ over clients like these. The
    clients of a run share its training, so they say nothing about other seeds; rows are never pooled over seeds.

    Returns:
        One row per setting and seed with the columns of `differences`, seed and unit ("client"); `n` counts clients.

    Raises:
        RecordError: for an unknown method, or if the two share no setting and seed.
    """
    seen = clients[~clients["held_out"].astype(bool)]
    table = seen.pivot_table(index=["setting", "seed", "client"], columns="method", values="accuracy", sort=False)
    check_known("method", [method, reference], table.columns)
    rows = []
    for (setting, seed), part in table[[method, reference]].dropna().groupby(level=["setting", "seed"], sort=False):
        difference = stats.paired_difference(part[method], part[reference], generator)
        rows.append({"setting": setting, "seed": seed, "method": method, "unit": "client", **difference._asdict()})
    if not rows:
        raise RecordError(f"{method} and {reference} share no setting and seed: their clients cannot be compared")
    return with_verdicts(pd.DataFrame(rows), lower=False)


def with_verdicts(frame: pd.DataFrame, lower: bool, family: pd.Series | None = None) -> pd.DataFrame:
    """The frame with `p_holm`, corrected within each value of `family`, and `verdict`; rows without pairs have no p."""
    frame = frame.assign(p=frame["p"].where(frame["n"] > 0))
    groups = pd.Series(0, index=frame.index) if family is None else family
    corrected = frame.groupby(groups)["p"].transform(lambda p: stats.holm(p))
    gain = -frame["value"] if lower else frame["value"]
    verdict = np.where(corrected <= ALPHA, np.where(gain > 0, BETTER, WORSE), NOT_SIGNIFICANT)
    return frame.assign(p_holm=corrected, verdict=verdict)


def reach(n: int, comparisons: int = 1, unit: str = "seed") -> str:
    """Why `n` pairs cannot give a significant difference, and how many are needed; "" if they can."""
    least = stats.least_p(n)
    if least * comparisons <= ALPHA:
        return ""
    after = f", {min(1.0, least * comparisons):.2g} after Holm correction over {comparisons} comparisons"
    needed = counted(stats.pairs_needed(comparisons), unit)
    verb = "reaches" if n == 1 else "reach"
    return f"{counted(n, unit)} {verb} p = {least:.2g} at best{after * (comparisons > 1)}; {needed} would be needed"


def probability_of_improvement(runs: pd.DataFrame, metric: str, method: str, reference: str) -> stats.Estimate:
    """The share of pairs (setting, seed) in which the method is better than the reference; ties count half."""
    both = paired(runs, metric)[[method, reference]].dropna()
    sign = -1 if lower_is_better(metric) else 1
    return stats.probability_of_improvement(sign * both[method], sign * both[reference])


def interquartile_means(runs: pd.DataFrame, metric: str, generator: np.random.Generator) -> pd.DataFrame:
    """One row per method: the mean of the middle half of its runs of all settings, with its interval, highest first.

    `settings` counts the settings; methods with different settings cannot be compared.
    """
    table = paired(runs, metric)
    rows: list[dict[str, Any]] = []
    for method in table.columns:
        values = table[method].dropna()
        settings = values.index.get_level_values("setting")
        estimate = stats.interquartile_mean(values, settings, generator)
        rows.append({"method": method, **estimate._asdict(), "settings": settings.nunique()})
    return pd.DataFrame(rows).sort_values("value", ascending=False, ignore_index=True)
