"""The sentences above everything: who wins, by how much, whether that is resolved, and what the prior does to it."""

import numpy as np
import pandas as pd

from fedprompt.results.figures.style import SOUGHT
from fedprompt.results.statistics.pairs import ALL_SETTINGS, NOT_SIGNIFICANT, differences, reach
from fedprompt.results.statistics.summary import finished, ranking

SEEN, CORRECTED = "seen.mean", "prior.seen.mean"


def headline(runs: pd.DataFrame) -> list[str]:
    """What a reader should take away, as two to four plain sentences computed from the runs.

    Methods count that have a value in every setting. Raises RecordError where no run is finished.
    """
    done = finished(runs)
    order = _order(done, SEEN)
    if not order:
        return ["No method has finished a run in every setting: there is no overall winner."]
    best, means = order[0], _means(done, SEEN)
    over = (
        f"over {done['setting'].nunique()} settings"
        if done["setting"].nunique() > 1
        else f"on {done['setting'].iloc[0]}"
    )
    sentences = [
        f"{best} has the highest mean accuracy of seen clients {over}: {100 * means[best]:.1f} % "
        f"({_seeds(done[done['method'] == best])}). {_lead(done, SEEN, order)}".strip()
    ]
    sentences += _corrected(done, best)
    for name in SOUGHT[:1]:
        if name in order[1:]:
            place = order.index(name) + 1
            gap = 100 * (means[best] - means[name])
            sentences.append(f"{name} is {_ordinal(place)} of {len(order)}, {gap:.1f} points below the best.")
    return sentences


def _lead(done: pd.DataFrame, metric: str, order: list[str]) -> str:
    """The distance of the first of the ranked methods to the second, and whether it is resolved."""
    if len(order) < 2:
        return ""
    first, second = order[:2]
    found = differences(done, metric, first, np.random.default_rng(0), order)
    rivals = found[found["setting"] == ALL_SETTINGS].set_index("method")
    row = rivals.loc[second]
    lead = f"It leads {second} by {-100 * row['value']:.1f} points"
    # Differences are rival minus first: what is low for the rival is high for the first.
    if not pd.isna(row["low"]):
        lead += f" (interval {-100 * row['high']:.1f} to {-100 * row['low']:.1f})"
    if row["verdict"] != NOT_SIGNIFICANT:
        return f"{lead}, which is resolved (p = {row['p_holm']:.2g} after Holm over {len(rivals)} rivals)."
    limit = reach(int(row["n"]), len(rivals), "pair")
    why = limit or f"p = {row['p_holm']:.2g} after Holm over {len(rivals)} rivals"
    told = int((rivals["verdict"] != NOT_SIGNIFICANT).sum())
    return f"{lead}, which is not resolved: {why}. It is told from {told} of {len(rivals)} rivals."


def _corrected(done: pd.DataFrame, best: str) -> list[str]:
    """What becomes of the winner where every method's logits are corrected by the client's class prior."""
    order = _order(done, CORRECTED)
    if not order:
        return ["No run has prior-corrected accuracies: whether the lead survives the correction is not known."]
    means, begun = _means(done, CORRECTED), "With every method's logits corrected by the client's class prior,"
    if order[0] == best:
        return [f"{begun} {best} still leads, at {100 * means[best]:.1f} %. {_lead(done, CORRECTED, order)}".strip()]
    if best not in order:
        return [f"{begun} {order[0]} leads, at {100 * means[order[0]]:.1f} %; {best} has no such accuracy."]
    return [
        f"{begun} the win vanishes: {order[0]} leads, at {100 * means[order[0]]:.1f} %, and {best} is "
        f"{_ordinal(order.index(best) + 1)}, at {100 * means[best]:.1f} %. {_lead(done, CORRECTED, order)}".strip()
    ]


def _order(done: pd.DataFrame, metric: str) -> list[str]:
    """The methods with a value in every setting, best first."""
    valued = done.dropna(subset=[metric])
    settings = valued.groupby("method")["setting"].nunique()
    return [name for name in ranking(done, metric) if settings.get(name, 0) == done["setting"].nunique()]


def _means(done: pd.DataFrame, metric: str) -> "pd.Series[float]":
    return done.groupby(["method", "setting"])[metric].mean().groupby("method").mean()


def _seeds(runs: pd.DataFrame) -> str:
    counts = runs.groupby("setting")["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    return f"{low} seed{'s' * (low != 1)}" if low == high else f"{low} to {high} seeds"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
