"""Tidy frame -> tables: methods by settings and metrics, as they are or as differences to a reference."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError, unknown
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.pairs import ALL_SETTINGS, differences, lower_is_better, paired
from fedprompt.results.statistics.summary import ranking
from fedprompt.results.tables.entries import PER_RUN
from fedprompt.results.tables.render import render

__all__ = ["COSTS", "METRICS", "PER_RUN", "by_family", "difference_table", "leaderboard", "render", "with_prior"]

METRICS = ("seen.mean", "seen.worst", "held_out.mean", "prior.seen.mean")
COSTS = ("upload_mb", "seconds")


def leaderboard(
    frame: pd.DataFrame, metrics: Sequence[str] = METRICS, generator: np.random.Generator | None = None
) -> pd.DataFrame:
    """One row a method, best mean over settings of the first metric first; columns (setting, metric, statistic).

    The statistics are `mean`, `std` (sample; NaN for one seed) and the bootstrap interval `low`, `high` over the
    `seeds` finished runs, how many runs `failed`, and `p_best`: of the difference to the best of the column, paired and
    Holm-corrected over the column. A hole has no seed and no failure, a metric that does not apply has seeds but no
    mean. Under "all settings" stands the first metric's mean over settings (NaN where a setting is missing), with the pairs of
    all; the last columns, under "per run", hold the mean upload and wall-clock of a method's finished runs. Raises
    RecordError for an unknown metric.
    """
    _check(frame, metrics)
    generator = generator or np.random.default_rng(0)
    done, settings = frame[frame["status"] == "done"], list(frame["setting"].unique())
    columns: dict[tuple[str, str, str], pd.Series] = {}
    for setting in settings:
        for metric in metrics:
            found = _summary(frame[frame["setting"] == setting], metric, generator)
            columns |= {(setting, metric, name): values for name, values in found.items()}
    in_settings = done.groupby("method")["setting"].nunique()
    everywhere = frame[frame["method"].isin(in_settings.index[in_settings == len(settings)])]
    if len(settings) > 1 and not everywhere.empty:
        found = _summary(everywhere, metrics[0], generator)
        columns |= {(ALL_SETTINGS, metrics[0], name): values for name, values in found.items() if name != "std"}
    for cost in COSTS:
        if cost not in metrics:
            columns[PER_RUN, cost, "mean"] = done.groupby("method")[cost].mean()
    table = pd.DataFrame(columns, index=pd.Index(_order(frame, done, metrics[0]), name="method"))
    table.columns.names = ["setting", "metric", "statistic"]
    counts = [column for column in table.columns if column[2] in ("seeds", "failed")]
    table = table.fillna(dict.fromkeys(counts, 0)).astype(dict.fromkeys(counts, int))
    table.attrs["trials"] = _trials(frame)
    return table


def _trials(frame: pd.DataFrame) -> dict[str, int]:
    """How many settings were tried of each method that was tuned."""
    if "trials" not in frame:
        return {}
    return {str(method): int(most) for method, most in frame.groupby("method")["trials"].max().dropna().items()}


def difference_table(
    frame: pd.DataFrame, metrics: Sequence[str], reference: str, generator: np.random.Generator | None = None
) -> pd.DataFrame:
    """Every method minus the reference, in the same shape: the statistics are those of `pairs.differences`.

    Raises RecordError for an unknown metric or method.
    """
    _check(frame, metrics)
    generator = generator or np.random.default_rng(0)
    parts = {}
    for metric in metrics:
        long = differences(frame, metric, reference, generator)
        for setting, part in long.groupby("setting", sort=False):
            if setting != ALL_SETTINGS or frame["setting"].nunique() > 1:
                parts[str(setting), metric] = part.set_index("method").drop(columns="setting")
    ordered = sorted(parts, key=lambda key: list(dict.fromkeys(setting for setting, _ in parts)).index(key[0]))
    done = frame[frame["status"] == "done"]
    table = pd.concat({key: parts[key] for key in ordered}, axis=1, names=["setting", "metric", "statistic"])
    table = table.reindex([name for name in _order(frame, done, metrics[0]) if name != reference])
    table.index.name = "method"
    table.attrs |= {"reference": reference, "trials": _trials(frame)}
    return table


def with_prior(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a second row for every run, METHOD+prior: what it scores with prior-corrected logits."""
    corrected = frame.assign(method=frame["method"] + "+prior")
    for column in frame:
        if f"prior.{column}" in frame:
            corrected[column] = frame[f"prior.{column}"]
    return pd.concat([frame, corrected], ignore_index=True)


def by_family(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its rows grouped by the methods' families, in the order of each family's first row.

    Raises RecordError where no record names a family.
    """
    families = frame.groupby("method")["family"].max()
    if not families.any():
        raise RecordError("no record names the family of its method: run the sweep again, or leave out --group")
    own = pd.Index([families[name] for name in table.index])
    places = {name: place for place, name in enumerate(dict.fromkeys(own))}
    order = sorted(range(len(table)), key=lambda row: places[own[row]])
    grouped = table.iloc[order]
    grouped.index = pd.MultiIndex.from_arrays([own[order], table.index[order]], names=["family", "method"])
    grouped.attrs = table.attrs
    return grouped


def _check(frame: pd.DataFrame, metrics: Sequence[str]) -> None:
    numeric = frame.select_dtypes("number").columns
    for metric in metrics:
        if metric not in numeric:
            raise unknown("metric", metric, numeric)


def _summary(frame: pd.DataFrame, metric: str, generator: np.random.Generator) -> dict[str, pd.Series]:
    """The statistics of one column by method."""
    done = frame[frame["status"] == "done"]
    groups = done.groupby("method")
    means = {
        str(name): stats.bootstrap_mean(runs[metric].dropna(), generator, runs.loc[runs[metric].notna(), "setting"])
        for name, runs in groups
    }
    failed = frame[frame["status"] == "failed"].groupby("method").size()
    return {
        "mean": pd.Series({name: found.value for name, found in means.items()}, dtype=float),
        "std": groups[metric].std(),
        "low": pd.Series({name: found.low for name, found in means.items()}, dtype=float),
        "high": pd.Series({name: found.high for name, found in means.items()}, dtype=float),
        "p_best": _against_best(frame, metric, {name: found.value for name, found in means.items()}),
        "seeds": groups.size(),
        "failed": failed,
    }


def _against_best(frame: pd.DataFrame, metric: str, means: dict[str, float]) -> "pd.Series[float]":
    values = pd.Series(means, dtype=float).dropna()
    if values.empty:
        return pd.Series(dtype=float)
    best = values.idxmin() if lower_is_better(metric) else values.idxmax()
    table = paired(frame, metric)
    p = {}
    for name in values.index.drop([best]):
        both = table[[best, name]].dropna()
        gaps = stats.setting_weighted(both[best] - both[name], both.index.get_level_values("setting"))
        p[name] = stats.sign_flip(gaps) if len(gaps) else np.nan
    return pd.Series(stats.holm(list(p.values())), index=list(p), dtype=float)


def _order(frame: pd.DataFrame, done: pd.DataFrame, metric: str) -> list[str]:
    ranked = ranking(done, metric)
    if lower_is_better(metric):
        known = set(done.dropna(subset=[metric])["method"])
        ranked = [name for name in reversed(ranked) if name in known] + [name for name in ranked if name not in known]
    return ranked + sorted(set(frame["method"]) - set(ranked))
