"""Which clients a table's numbers leave out, as footnotes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

WORST = ("worst", "bottom_decile")


def exclusions(runs: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """The lines about clients with too few test samples and about clients without a score; none if all count.

    Args:
        runs: Finished runs.
        metrics: The metrics that the table shows.
    """
    lines = []
    if any(metric.endswith(WORST) for metric in metrics) and (few := _means(runs, "seen.too_few", ["setting"])):
        lines.append(f"worst leaves out clients with fewer test samples than --min-test: {few}")
    if without := _means(runs, "unscored_seen", ["method", "setting"]):
        lines.append(f"No score, since they never trained: {without}")
    return lines


def _means(runs: pd.DataFrame, column: str, by: list[str]) -> str:
    """The means over runs that are not 0, as "1.7 of 16 seen clients (local, digits dirichlet(0.05))"."""
    if column not in runs:
        return ""
    missing = runs[column] if column.startswith("unscored") else 0
    clients = (runs["seen.clients"].fillna(0) + missing).groupby([runs[name] for name in by], sort=False).mean()
    means = runs.groupby(by, sort=False)[column].mean()
    left_out = means[means > 0]
    names = [", ".join(map(str, np.atleast_1d(key))) for key in left_out.index]
    return "; ".join(
        f"{value:.3g} of {of:.3g} seen clients ({name})"
        for name, value, of in zip(names, left_out, clients[left_out.index], strict=True)
    )
