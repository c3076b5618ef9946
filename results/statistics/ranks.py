"""Ranks over settings: average ranks, Friedman's test, and what a critical-difference diagram shows."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from fedprompt.results.errors import RecordError
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.pairs import ALPHA, lower_is_better, paired

DIGITS = 12
REORDERINGS = 2_000


class Ranking(NamedTuple):
    """Average ranks (1 is best), Friedman's p, pairwise Wilcoxon p after Holm, and who stands together.

    `cliques` are the largest groups, in order of rank, of which no two methods are resolved. `left_out` names the
    methods that have no value in some setting.
    """

    ranks: "pd.Series[float]"
    friedman: float
    pairwise: pd.DataFrame
    cliques: list[list[str]]
    settings: int
    left_out: list[str]


def rank(
    runs: pd.DataFrame, metric: str, generator: np.random.Generator, by: tuple[str, ...] = ("setting",)
) -> Ranking:
    """The methods ranked in every setting, on their means over seeds (Demsar, JMLR 2006; Benavoli et al., JMLR 2016).

    `by=("setting", "seed")` ranks every pair of runs instead: more power, but the seeds of a setting are no independent data
    sets, so it speaks of these settings alone. Raises RecordError for fewer than two methods in common to all settings.
    """
    scores = paired(runs, metric).groupby(level=list(by), sort=False).mean()
    complete = scores.dropna(axis=1)
    left_out = [str(name) for name in scores if name not in complete]
    if complete.shape[1] < 2:
        raise RecordError(
            f"ranks of {metric} need two methods with a value in every setting: {complete.shape[1]} found"
        )
    ranks = average_ranks(complete, lower_is_better(metric))
    pairwise = wilcoxon_holm(complete)
    return Ranking(ranks, friedman(complete, generator), pairwise, cliques(ranks, pairwise), len(complete), left_out)


def average_ranks(scores: pd.DataFrame, lower: bool = False) -> "pd.Series[float]":
    """The mean rank of each column over the rows, best first; ties share their ranks."""
    return scores.round(DIGITS).rank(axis=1, ascending=lower).mean().sort_values(kind="stable")


def friedman(scores: pd.DataFrame, generator: np.random.Generator) -> float:
    """p of "all columns rank alike", rows being settings: Friedman's statistic among random reorderings of each row.

    Of 2,000 reorderings and the observed one: the chi-squared form is wrong for a handful of settings, and Iman and
    Davenport's F calls two settings that agree by chance a certainty.
    """
    ranks = scores.round(DIGITS).rank(axis=1).to_numpy()
    shuffled = generator.permuted(np.broadcast_to(ranks, (REORDERINGS, *ranks.shape)), axis=2)
    spread = np.append(shuffled.mean(axis=1).var(axis=1), observed := ranks.mean(axis=0).var())
    return float(np.mean(spread >= observed - 1e-9))


def wilcoxon_holm(scores: pd.DataFrame) -> pd.DataFrame:
    """Methods x methods: p of Wilcoxon's signed-rank test over the rows, Holm-corrected over all pairs of columns.

    The test is the sign flip of signed ranks, right with ties and, as Pratt has it, with differences of zero.
    `scikit_posthocs.critical_difference_diagram` takes it as its `sig_matrix`.
    """
    values = scores.round(DIGITS).to_numpy()
    first, second = np.triu_indices(values.shape[1], 1)
    gaps = np.round(values[:, first] - values[:, second], DIGITS)
    signed = np.sign(gaps) * rankdata(np.abs(gaps), axis=0)
    p = np.ones((values.shape[1], values.shape[1]))
    p[first, second] = p[second, first] = stats.holm([stats.sign_flip(column) for column in signed.T])
    return pd.DataFrame(p, index=scores.columns, columns=scores.columns)


def cliques(ranks: "pd.Series[float]", pairwise: pd.DataFrame) -> list[list[str]]:
    """The largest runs of neighbours in rank of which no two are resolved: the bars of the diagram."""
    names = list(ranks.index)
    open_ = pairwise.loc[names, names].to_numpy() > ALPHA
    found: list[list[str]] = []
    reached = 0
    for start in range(len(names)):
        stop = start + 1
        while stop < len(names) and np.all(open_[start:stop, stop]):
            stop += 1
        if stop - start > 1 and stop > reached:
            found.append(names[start:stop])
        reached = max(reached, stop)
    return found
