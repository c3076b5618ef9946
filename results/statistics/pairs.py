"""Tidy frames -> paired comparisons: of runs that share setting and seed and, apart from them, of clients within a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError, unknown
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.selection import finished

ALPHA = 1 - stats.LEVEL
ALL_SETTINGS = "all settings"
BETTER, WORSE, UNRESOLVED = "better", "worse", "not resolved"
LOWER = ("upload_mb", "download_mb", "seconds", "shared_parameters", "local_parameters", "never_trained")


def lower_is_better(metric: str) -> bool:
    """Whether less is more: costs, and the spread over clients."""
    return metric in LOWER or metric.endswith(".std")


def paired(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row a (setting, seed), one column a method, in order of appearance; NaN where a run has no such value.

    Raises RecordError for an unknown metric and where no run is finished.
    """
    numeric = runs.select_dtypes("number").columns
    if metric not in numeric:
        raise unknown("metric", metric, numeric)
    table = finished(runs).pivot_table(index=["setting", "seed"], columns="method", values=metric, sort=False)
    return table.reindex(columns=list(dict.fromkeys(runs["method"])))


def differences(
    runs: pd.DataFrame,
    metric: str,
    reference: str,
    generator: np.random.Generator,
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Every method minus the reference, pair by pair: one row a setting and method, then a row a method for "all settings".

    Columns: setting, method, value, low, high, n (pairs), p (sign flips), least (what n pairs can reach), p_holm and
    verdict (better, worse, not resolved: which way the metric is good is minded). Holm's correction is over all rows
    of the settings, and over all rows of "all settings". Raises RecordError for an unknown method or metric.
    """
    table = paired(runs, metric)
    for name in (reference, *(methods or ())):
        if name not in table.columns:
            raise unknown("method", name, table.columns)
    rivals = [name for name in methods or table.columns if name != reference]
    resamples = int(generator.integers(2**63))  # the same for all, so that no interval depends on who else is compared
    rows = []
    for setting, part in [*table.groupby(level="setting", sort=False), (ALL_SETTINGS, table)]:
        for method in rivals:
            both = part[[method, reference]].dropna()
            anew = np.random.default_rng(resamples)
            found = stats.paired_difference(both[method], both[reference], anew, both.index.get_level_values(0))
            rows.append({"setting": setting, "method": method, **found._asdict()})
    frame = pd.DataFrame(rows, columns=["setting", "method", *stats.Difference._fields])
    return judged(frame, lower_is_better(metric), family=frame["setting"] == ALL_SETTINGS)


def per_client(clients: pd.DataFrame, method: str, reference: str, generator: np.random.Generator) -> pd.DataFrame:
    """Seen clients' accuracy, method minus reference, client by client within each setting and seed.

    One row a setting and seed, `n` counts clients, `unit` says so. It answers another question than `differences`: whether
    this one pair of trained models differs over clients like these. Clients of a run share its training, so that
    they say nothing of what another seed would give; the rows are therefore never pooled over seeds.
    """
    seen = clients[~clients["held_out"].astype(bool)]
    table = seen.pivot_table(index=["setting", "seed", "client"], columns="method", values="accuracy", sort=False)
    for name in (method, reference):
        if name not in table.columns:
            raise unknown("method", name, table.columns)
    rows = []
    for (setting, seed), part in table[[method, reference]].dropna().groupby(level=["setting", "seed"], sort=False):
        found = stats.paired_difference(part[method], part[reference], generator)
        rows.append({"setting": setting, "seed": seed, "method": method, "unit": "client", **found._asdict()})
    if not rows:
        raise RecordError(
            f"{method} and {reference} share no setting and seed: nothing can be compared client by client"
        )
    return judged(pd.DataFrame(rows), lower=False)


def judged(frame: pd.DataFrame, lower: bool, family: pd.Series | None = None) -> pd.DataFrame:
    """The frame with `p_holm`, corrected within each value of `family`, and `verdict`; rows without pairs stay open."""
    frame = frame.assign(p=frame["p"].where(frame["n"] > 0))
    groups = pd.Series(0, index=frame.index) if family is None else family
    corrected = frame.groupby(groups)["p"].transform(lambda p: stats.holm(p))
    gain = -frame["value"] if lower else frame["value"]
    verdict = np.where(corrected <= ALPHA, np.where(gain > 0, BETTER, WORSE), UNRESOLVED)
    return frame.assign(p_holm=corrected, verdict=verdict)


def reach(n: int, comparisons: int = 1, unit: str = "seed") -> str:
    """Why `n` pairs cannot resolve anything, and how many would; empty where they can."""
    least = stats.least_p(n)
    if least * comparisons <= ALPHA:
        return ""
    over = f", {min(1.0, least * comparisons):.2g} after Holm over {comparisons} comparisons" * (comparisons > 1)
    needed = stats.pairs_needed(comparisons)
    return f"{n} {unit}{'s' * (n != 1)} can reach p = {least:.2g} at best{over}; {needed} would do"


def probability_of_improvement(runs: pd.DataFrame, metric: str, method: str, reference: str) -> stats.Estimate:
    """In what share of pairs (setting, seed) the method is better than the reference; ties count half."""
    both = paired(runs, metric)[[method, reference]].dropna()
    sign = -1 if lower_is_better(metric) else 1
    return stats.probability_of_improvement(sign * both[method], sign * both[reference])


def interquartile_means(runs: pd.DataFrame, metric: str, generator: np.random.Generator) -> pd.DataFrame:
    """One row a method: the mean of the middle half of its runs of all settings, with its interval, highest first.

    `settings` counts the settings: methods with unlike settings cannot be compared.
    """
    table = paired(runs, metric)
    rows: list[dict[str, Any]] = []
    for method in table.columns:
        values = table[method].dropna()
        settings = values.index.get_level_values("setting")
        found = stats.interquartile_mean(values, settings, generator)
        rows.append({"method": method, **found._asdict(), "settings": settings.nunique()})
    return pd.DataFrame(rows).sort_values("value", ascending=False, ignore_index=True)
