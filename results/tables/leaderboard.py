"""Tidy frame -> tables: methods by settings and metrics, as means or as differences to a reference."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd

from fedprompt.results.errors import RecordError
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.best import marks
from fedprompt.results.statistics.convergence import climbing
from fedprompt.results.statistics.grouped import grouped_bounds
from fedprompt.results.statistics.pairs import (
    ALL_SETTINGS,
    check_metrics,
    differences,
    is_accuracy,
    lower_is_better,
    paired,
)
from fedprompt.results.statistics.prior import calibrated, with_prior
from fedprompt.results.statistics.summary import finished, ranking
from fedprompt.results.statistics.trivial import MAJORITY, ROUNDING
from fedprompt.results.tables.entries import PER_RUN
from fedprompt.results.tables.exclusions import exclusions
from fedprompt.results.tables.federation import realised
from fedprompt.results.tables.render import render

__all__ = ["COSTS", "METRICS", "PER_RUN", "by_family", "difference_table", "leaderboard", "render", "with_prior"]

METRICS = ("seen.mean", "trained.mean", "seen.worst", "held_out.mean", "personalised.mean", "prior.seen.mean")
"""What tables show by default."""
COSTS = ("upload_mb", "seconds")


def leaderboard(
    frame: pd.DataFrame,
    metrics: Sequence[str] | None = None,
    generator: np.random.Generator | None = None,
    intervals: bool = True,
    overall: bool = False,
) -> pd.DataFrame:
    """One row per method, best mean over settings of the first metric first; columns (setting, metric, statistic).

    The statistics are `mean`, `std` (sample; NaN for one seed), `low`, `high` (bootstrap interval over seeds; NaN
    without `intervals`), `p_best` and `mark` (from tests of all pairs of methods, see `statistics.best.marks`),
    `below_majority` (see `statistics.trivial`), for the first metric `climbing` (see `statistics.convergence`), and the
    numbers of `seeds` and of `failed` runs. Both are 0 if the method was not run; a metric that does not apply has
    seeds but no mean. The setting "all settings" has the first metric's mean over settings (NaN if one is missing), and
    with `overall` that of every metric; "per run" has the mean upload and wall-clock time. Raises RecordError for an
    unknown metric. `metrics` are by default those of `METRICS` that any run has. `attrs["seeds"]` of the result, such
    as "1 of 3 seeds", replaces the number of seeds in the notes.
    """
    metrics = default_metrics(frame) if metrics is None else metrics
    check_metrics(frame, metrics)
    generator = generator or np.random.default_rng(0)
    seed = int(deepcopy(generator).integers(2**63)) if intervals else None
    done, settings = frame[frame["status"] == "done"], list(frame["setting"].unique())
    columns: dict[tuple[str, str, str], pd.Series] = {}
    scores = frame[["method", "setting", "seed", "status", *metrics]]  # few columns: selecting rows of all takes longer
    marked = {metric: _marks(scores, metric, generator) for metric in metrics}
    for setting in settings:
        rows = scores[scores["setting"] == setting]
        for metric in metrics:
            summary = _summary(rows, metric, seed) | marked[metric].get(setting, {})
            columns |= {(setting, metric, name): values for name, values in summary.items()}
        if is_accuracy(metrics[0]):
            columns[setting, metrics[0], "climbing"] = climbing(done[done["setting"] == setting])
    if len(settings) > 1:
        for metric in metrics if overall else metrics[:1]:
            columns |= _overall(scores, metric, seed, marked[metric].get(ALL_SETTINGS, {}))
    for cost in COSTS:
        if cost not in metrics:
            columns[PER_RUN, cost, "mean"] = done.groupby("method")[cost].mean()
    table = pd.DataFrame(columns, index=pd.Index(_order(frame, metrics[0]), name="method"))
    table.columns.names = ["setting", "metric", "statistic"]
    counts = [column for column in table.columns if column[2] in ("seeds", "failed")]
    table = table.fillna(dict.fromkeys(counts, 0)).astype(dict.fromkeys(counts, int))
    table.attrs |= _facts(frame, done) | {"exclusions": exclusions(done, metrics)}
    return table


def _overall(
    frame: pd.DataFrame, metric: str, seed: int | None, marked: dict[str, pd.Series]
) -> dict[tuple[str, str, str], pd.Series]:
    """The columns of "all settings" of a metric: the methods with finished runs in every setting.

    A method without a value in some setting has none.
    """
    done, settings = frame[frame["status"] == "done"], frame["setting"].nunique()
    counts = [rows.groupby("method")["setting"].nunique() for rows in (done, done.dropna(subset=[metric]))]
    complete, valued = (count.index[count == settings] for count in counts)
    rows = frame[frame["method"].isin(complete)]
    if rows.empty:
        return {}
    rows = rows.assign(**{metric: rows[metric].where(rows["method"].isin(valued))})
    summary = _summary(rows, metric, seed) | marked
    return {(ALL_SETTINGS, metric, name): values for name, values in summary.items() if name != "std"}


def default_metrics(frame: pd.DataFrame) -> list[str]:
    """Those of `METRICS` that any run has: records of version 0.2 lack some. Always the first."""
    return [name for place, name in enumerate(METRICS) if place == 0 or (name in frame and frame[name].notna().any())]


def _facts(frame: pd.DataFrame, done: pd.DataFrame) -> dict[str, Any]:
    """What the notes of a table need to know of its runs."""
    return {"trials": _trials(frame), "federation": realised(done), "calibrated": calibrated(done)}


def _trials(frame: pd.DataFrame) -> dict[str, int]:
    """The number of trials of each tuned method."""
    if "trials" not in frame:
        return {}
    return {str(method): int(most) for method, most in frame.groupby("method")["trials"].max().dropna().items()}


def difference_table(
    frame: pd.DataFrame, metrics: Sequence[str], reference: str, generator: np.random.Generator | None = None
) -> pd.DataFrame:
    """Each method minus the reference, in the shape of `leaderboard`, with the statistics of `pairs.differences`.

    Raises RecordError for an unknown metric or method.
    """
    check_metrics(frame, metrics)
    generator = generator or np.random.default_rng(0)
    parts = {}
    for metric in metrics:
        # The same draws for every metric: p does not depend on the other metrics of the table.
        rows = differences(frame, metric, reference, deepcopy(generator))
        for setting, part in rows.groupby("setting", sort=False):
            if setting != ALL_SETTINGS or frame["setting"].nunique() > 1:
                parts[str(setting), metric] = part.set_index("method").drop(columns="setting")
    settings = list(dict.fromkeys(setting for setting, _ in parts))
    ordered = {key: parts[key] for key in sorted(parts, key=lambda key: settings.index(key[0]))}
    table = pd.concat(ordered, axis=1, names=["setting", "metric", "statistic"])
    table = table.reindex([name for name in _order(frame, metrics[0]) if name != reference])
    table.index.name = "method"
    table.attrs |= _facts(frame, finished(frame)) | {"reference": reference}
    return table


def by_family(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its rows grouped by the methods' families, in the order of each family's first row.

    Raises RecordError if no record names a family.
    """
    families = frame.groupby("method")["family"].max()
    if not families.any():
        raise RecordError("no record names the family of its method: run the sweep again, or leave out --group")
    family_of_row = pd.Index([families[name] for name in table.index])
    places = {name: place for place, name in enumerate(dict.fromkeys(family_of_row))}
    order = sorted(range(len(table)), key=lambda row: places[family_of_row[row]])
    grouped = table.iloc[order]
    grouped.index = pd.MultiIndex.from_arrays([family_of_row[order], table.index[order]], names=["family", "method"])
    grouped.attrs = table.attrs
    return grouped


def _summary(frame: pd.DataFrame, metric: str, seed: int | None) -> dict[str, pd.Series]:
    """The statistics of one column by method."""
    done = frame.loc[frame["status"] == "done", ["method", "setting", metric]]
    groups, values = done.groupby("method"), done[metric].to_numpy(float)
    settings, valued = np.unique(done["setting"].to_numpy(), return_inverse=True)[1], ~np.isnan(values)
    means = {}
    for name, rows in sorted(groups.indices.items()):
        rows = rows[valued[rows]]
        means[str(name)] = stats.bootstrap_mean(values[rows], None, settings[rows]).value
    bounds = np.full((2, len(means)), np.nan)
    if seed is not None:
        methods = groups.ngroup().to_numpy()
        bounds = np.array(grouped_bounds(values[valued], methods[valued], settings[valued], len(means), seed))
    mean, low, high = (pd.Series(column, list(means), dtype=float) for column in (list(means.values()), *bounds))
    return {
        "mean": mean,
        "std": groups[metric].std(),
        "low": low,
        "high": high,
        **_below_majority(mean, metric),
        "seeds": groups.size(),
        "failed": frame[frame["status"] == "failed"].groupby("method").size(),
    }


def _below_majority(means: "pd.Series[float]", metric: str) -> dict[str, pd.Series]:
    if means.empty or not is_accuracy(metric) or lower_is_better(metric):
        return {}
    return {"below_majority": means < means.get(MAJORITY, np.nan) - ROUNDING}


def _marks(frame: pd.DataFrame, metric: str, generator: np.random.Generator) -> dict[str, dict[str, pd.Series]]:
    """`p_best` and `mark` of each setting by method."""
    done = frame[frame["status"] == "done"].dropna(subset=[metric])
    if done["method"].nunique() < 2:
        return {}
    found = marks(paired(done, metric), lower_is_better(metric), deepcopy(generator))
    parts = {str(setting): part.droplevel("setting") for setting, part in found.groupby(level="setting")}
    return {setting: {name: part[name] for name in ("p_best", "mark")} for setting, part in parts.items()}


def _order(frame: pd.DataFrame, metric: str) -> list[str]:
    """All methods, best mean over settings first, those without a value last."""
    done = frame[frame["status"] == "done"]
    ranked = ranking(done, metric)
    if lower_is_better(metric):
        valued = set(done.dropna(subset=[metric])["method"])
        ranked = [name for name in reversed(ranked) if name in valued] + [name for name in ranked if name not in valued]
    return ranked + sorted(set(frame["method"]) - set(ranked))
