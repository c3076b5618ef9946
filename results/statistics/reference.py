"""Differences of methods to a reference in each setting, also with prior-corrected logits."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from fedprompt.results.errors import MissingDataError
from fedprompt.results.statistics import inference, pairs
from fedprompt.results.statistics.prior import PRIOR, with_prior

COLUMNS = ("metric", "setting", "method", "reference", "value", "low", "high", "level", "seeds", "p_adjusted")


def to_reference(runs: pd.DataFrame, metrics: Iterable[str], reference: str, prior: bool = False) -> pd.DataFrame:
    """The mean paired differences of the other methods minus the reference.

    The rows of one metric and reference are those of `bench table --reference`: p is adjusted for them and for their
    means over all settings.

    Args:
        runs: One row per run.
        metrics: Metrics; those without a value are left out.
        reference: A method.
        prior: Whether to add METHOD+prior minus the reference, and METHOD+prior minus REFERENCE+prior.

    Returns:
        One row per metric, setting, method and reference that have a pair, with `COLUMNS` and `excludes_0`: whether the
        interval reaches 95 % and lies on one side of 0.

    Raises:
        MissingDataError: With `prior`, no run has such scores, or no other method has a pair.
        RecordError: The reference is unknown, or no run is finished.
    """
    frame = with_prior(runs) if prior else runs
    others = [name for name in frame["method"].unique() if name != reference]
    families = {reference: others}
    if prior:
        families[reference + PRIOR] = [name for name in others if name.endswith(PRIOR) and name != reference + PRIOR]
    parts = []
    for metric in metrics:
        if not _valued(runs, metric):
            continue
        if prior and not _valued(runs, f"prior.{metric}"):
            raise MissingDataError(f"no run has a value of prior.{metric}; leave out --prior")
        for name, methods in families.items():
            rows = pairs.differences(frame, metric, name, np.random.default_rng(0), methods) if methods else frame[:0]
            parts.append(rows.assign(metric=metric, reference=name))
    data = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    data = data[(data["setting"] != pairs.ALL_SETTINGS) & (data["n"] > 0)] if "n" in data else data[:0]
    if data.empty:
        raise MissingDataError(f"no other method has a setting and seed in common with {reference}")
    data = data.assign(level=[inference.reached(n) for n in data["n"]])
    one_side = (data["low"] > 0) | (data["high"] < 0)
    return data[list(COLUMNS)].assign(excludes_0=(data["level"] >= inference.LEVEL) & one_side).reset_index(drop=True)


def _valued(runs: pd.DataFrame, metric: str) -> bool:
    return metric in runs and bool(runs[metric].notna().any())
