"""The report's summary in sentences: the best method, its lead, and the effect of prior correction."""

import numpy as np
import pandas as pd

from fedprompt.results.figures.method_styles import SOUGHT
from fedprompt.results.statistics.best import all_pairs
from fedprompt.results.statistics.pairs import ALL_SETTINGS, ALPHA, counted, overall_difference, paired, untestable
from fedprompt.results.statistics.summary import finished, ranking

SEEN, CORRECTED = "seen.mean", "prior.seen.mean"
COMMON = "With every method's logits corrected by the client's class prior,"


def headline(runs: pd.DataFrame) -> list[str]:
    """Summarise the runs in one to four sentences, comparing the methods that have a value in every setting.

    Raises:
        RecordError: No run is finished.
    """
    done = finished(runs)
    order = _order(done, SEEN)
    if not order:
        return ["No method has finished a run in every setting: there is no overall winner."]
    best, means = order[0], _means(done, SEEN)
    settings = list(done["setting"].unique())
    where = f"over {len(settings)} settings" if len(settings) > 1 else f"on {settings[0]}"
    sentences = [
        f"{best} has the highest mean accuracy of seen clients {where}: {100 * means[best]:.1f} % "
        f"({_seeds(done[done['method'] == best])}). {_lead(done, SEEN, order)}".strip(),
        _corrected(done, best),
    ]
    if SOUGHT[0] in order[1:]:
        gap = 100 * (means[best] - means[SOUGHT[0]])
        place = f"{_ordinal(order.index(SOUGHT[0]) + 1)} of {len(order)}"
        sentences.append(f"{SOUGHT[0]} is {place}, {gap:.1f} points below the best.")
    return sentences


def _lead(done: pd.DataFrame, metric: str, order: list[str]) -> str:
    """The difference between the two best methods, and whether it is significant among all pairs of methods."""
    if len(order) < 2:
        return ""
    first, second = order[:2]
    table = paired(done, metric)
    gap = overall_difference(table, first, second, np.random.default_rng(0))
    lead = f"It leads {second} by {100 * gap['value']:.1f} points"
    if not pd.isna(gap["low"]):
        lead += f" (interval {100 * gap['low']:.1f} to {100 * gap['high']:.1f})"
    if why := untestable(gap["seeds"]):
        return f"{lead}; {why}."
    # All pairs: the best method was selected, so tests against it alone would call too much significant.
    rows = all_pairs(table, np.random.default_rng(0))
    overall = rows[(rows["setting"] == ALL_SETTINGS) & ((rows["method"] == first) | (rows["other"] == first))]
    p = overall.set_index(overall["method"].where(overall["method"] != first, overall["other"]))["p_adjusted"]
    corrected = f"p = {p[second]:.2g} by max-T over {counted(len(rows), 'comparison')} of all methods"
    if p[second] <= ALPHA:
        return f"{lead}, which is statistically significant ({corrected})."
    counts = f"It differs significantly from {int((p[order[1:]] <= ALPHA).sum())} of {len(order) - 1} methods."
    return f"{lead}, which is not statistically significant: {corrected}. {counts}"


def _corrected(done: pd.DataFrame, best: str) -> str:
    """Whether the best method is also the best with prior-corrected logits."""
    order = _order(done, CORRECTED)
    if not order:
        return "No run has prior-corrected accuracies: whether the lead survives the correction is unknown."
    means, leader = _means(done, CORRECTED), order[0]
    accuracy = f"{100 * means[leader]:.1f} %"
    if leader == best:
        return f"{COMMON} {best} still leads, at {accuracy}. {_lead(done, CORRECTED, order)}".strip()
    if best not in order:
        return f"{COMMON} {leader} leads, at {accuracy}; {best} has no such accuracy in every setting."
    return (
        f"{COMMON} the lead is lost: {leader} is first, at {accuracy}, and {best} is "
        f"{_ordinal(order.index(best) + 1)}, at {100 * means[best]:.1f} %. {_lead(done, CORRECTED, order)}"
    )


def _order(done: pd.DataFrame, metric: str) -> list[str]:
    """The methods with a value in every setting, best first."""
    settings = done.dropna(subset=[metric]).groupby("method")["setting"].nunique()
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
