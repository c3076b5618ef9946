"""Paired comparisons of methods: runs that share setting and seed, or clients within one run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError, check_known
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.multiple import Floats, max_t
from fedprompt.results.statistics.summary import finished

ALPHA = 1 - stats.LEVEL
ALL_SETTINGS = "all settings"
BETTER, WORSE, NOT_SIGNIFICANT, UNTESTABLE = "better", "worse", "not significant", "untestable"
EQUAL, UNDECIDED = "equal", "undecided"
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


def seed_shares(gaps: pd.DataFrame) -> pd.DataFrame:
    """What each seed adds to the mean of each difference, [seeds, (setting, comparison)], "all settings" last.

    `gaps` [(setting, seed), comparisons] holds paired differences. Seeds are the units that tests flip, with one sign
    in all settings. NaN: the seed has no pair.
    """
    parts = gaps / gaps.groupby(level="setting").transform("count")
    by_setting = parts.groupby(level="setting", sort=False)
    shares = {str(part.index[0][0]): part.droplevel("setting") for _, part in by_setting}
    settings = gaps.groupby(level="setting").count().gt(0).sum()
    shares[ALL_SETTINGS] = parts.groupby(level="seed").sum(min_count=1) / settings
    return pd.concat(shares, axis=1, names=["setting"])


def differences(
    runs: pd.DataFrame,
    metric: str,
    reference: str,
    generator: np.random.Generator,
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The mean paired difference of each method minus the reference, per setting and over all settings.

    Returns one row per setting and method, then one per method for "all settings", with the columns setting, method,
    value, low, high, n (pairs), seeds, p (sign flips of the seeds), least (the smallest p of so many seeds), p_adjusted
    (max-T over all rows) and verdict: "better", "worse", "not significant", or "untestable" if no p could be small
    enough; for costs, lower is better. Raises RecordError for an unknown method or metric.
    """
    table = paired(runs, metric)
    check_known("method", [reference, *(methods or ())], table.columns)
    others = [name for name in methods or table.columns if name != reference]
    gaps = table[others].sub(table[reference], axis=0)
    seed = int(generator.integers(2**63))  # one for all: an interval does not depend on which methods are compared
    rows = [
        {"setting": setting, "method": method, **bootstrapped(part[method].dropna(), np.random.default_rng(seed))}
        for setting, part in [*gaps.groupby(level="setting", sort=False), (ALL_SETTINGS, gaps)]
        for method in others
    ]
    frame = pd.DataFrame(rows, columns=["setting", "method", "value", "low", "high", "n"])
    return with_tests(frame, seed_shares(gaps).to_numpy(dtype=float), generator, lower_is_better(metric))


def overall_difference(
    table: pd.DataFrame, method: str, reference: str, generator: np.random.Generator
) -> dict[str, Any]:
    """The mean paired difference of two methods of a table of `paired` over all settings.

    These are value, low, high, n and seeds of the row "all settings" of `differences` with an equal generator.
    """
    gaps = (table[method] - table[reference]).dropna()
    seeds = gaps.index.get_level_values("seed").nunique()
    return bootstrapped(gaps, np.random.default_rng(int(generator.integers(2**63)))) | {"seeds": seeds}


def bootstrapped(gaps: "pd.Series[float]", generator: np.random.Generator) -> dict[str, Any]:
    """The mean of paired differences, its interval and the number of pairs; all settings have equal weight."""
    estimate = stats.bootstrap_mean(gaps, generator, gaps.index.get_level_values("setting"))
    return {key: value for key, value in estimate._asdict().items() if key != "level"}


def per_client(clients: pd.DataFrame, method: str, reference: str, generator: np.random.Generator) -> pd.DataFrame:
    """Accuracy of seen clients, method minus reference, paired by client within each setting and seed.

    This answers another question than `differences`: whether two trained models differ over clients like these. The
    clients of a run share its training, so they say nothing about other seeds; rows are never pooled over seeds.

    Returns one row per setting and seed with the columns of `differences`, seed and unit ("client"); `n` is of clients.
    Raises RecordError for an unknown method, or if the two share no setting and seed.
    """
    seen = clients[~clients["held_out"].astype(bool)]
    table = seen.pivot_table(index=["setting", "seed", "client"], columns="method", values="accuracy", sort=False)
    check_known("method", [method, reference], table.columns)
    gaps = (table[method] - table[reference]).dropna()
    if gaps.empty:
        raise RecordError(f"{method} and {reference} share no setting and seed: their clients cannot be compared")
    runs = gaps.groupby(level=["setting", "seed"], sort=False)
    rows = [
        dict(zip(("setting", "seed"), part.index[0], strict=False))
        | {"method": method, "unit": "client", **bootstrapped(part, generator)}
        for _, part in runs
    ]
    # Clients of two runs differ: each is a unit of its own run.
    units = np.where(np.arange(len(rows)) == runs.ngroup().to_numpy()[:, None], gaps.to_numpy()[:, None], np.nan)
    return with_tests(pd.DataFrame(rows), units, generator, lower=False).drop(columns="seeds")


def with_tests(frame: pd.DataFrame, units: Floats, generator: np.random.Generator, lower: bool = False) -> pd.DataFrame:
    """The frame with the tests of its rows, which are one family.

    `units` [units, rows] are the paired differences per seed. Adds the columns seeds, p, least, p_adjusted and verdict;
    rows without pairs have no p.
    """
    columns = [column[~np.isnan(column)] for column in units.T]
    counts = [len(column) for column in columns]
    least = np.array([stats.least_p(count) for count in counts])
    adjusted = max_t(units, generator)
    gain = -frame["value"] if lower else frame["value"]
    verdict = np.where(adjusted <= ALPHA, np.where(gain > 0, BETTER, WORSE), NOT_SIGNIFICANT)
    p = [stats.sign_flip(column) if len(column) else np.nan for column in columns]
    return frame.assign(
        seeds=counts, p=p, least=least, p_adjusted=adjusted, verdict=np.where(least > ALPHA, UNTESTABLE, verdict)
    )


def practical(frame: pd.DataFrame, margin: float, lower: bool = False) -> pd.DataFrame:
    """The frame of `differences` with `practical`, the verdict against a margin of practical equivalence.

    "better" or "worse": the difference is significant, and its interval lies beyond the margin. "equal": the interval
    lies within the margin on both sides. Otherwise, and if untestable, "undecided".
    """
    gains = -frame[["high", "low"]] if lower else frame[["low", "high"]]
    low, high = gains.to_numpy().T
    better, worse = ((frame["verdict"] == verdict).to_numpy() for verdict in (BETTER, WORSE))
    equal = (low >= -margin) & (high <= margin) & (frame["verdict"] != UNTESTABLE).to_numpy()
    found = [better & (low > margin), worse & (high < -margin), equal]
    return frame.assign(practical=np.select(found, [BETTER, WORSE, EQUAL], UNDECIDED))


def untestable(seeds: int, unit: str = "seed") -> str:
    """Why so many seeds cannot give a significant difference, and how many are needed; "" if they can."""
    least = stats.least_p(seeds)
    if least <= ALPHA:
        return ""
    needed = counted(stats.pairs_needed(), unit)
    return f"untestable with {counted(seeds, unit)}: p is at least {least:.2g}; {needed} are needed"


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
