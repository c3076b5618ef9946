"""Ranks over settings: average ranks, Friedman's test, and the data of a critical-difference diagram."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from fedprompt.results.errors import RecordError
from fedprompt.results.statistics.multiple import max_t
from fedprompt.results.statistics.pairs import ALPHA, lower_is_better, paired

DIGITS = 12
REORDERINGS = 2_000


class Ranking(NamedTuple):
    """Average ranks (1 is best), Friedman's p, p of Wilcoxon's test per pair by max-T, and groups.

    `cliques` are the largest groups of methods, in order of rank, in which no two differ significantly; `left_out` are
    the methods without a value in some setting.
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
    """Ranks the methods in each setting on their means over seeds (Demsar, JMLR 2006; Benavoli et al., JMLR 2016).

    `by=("setting", "seed")` ranks each pair of runs instead. This has more power, but seeds of a setting are not
    independent data sets: the result then holds for these settings only. Raises RecordError if fewer than two methods
    have a value in every setting.
    """
    scores = paired(runs, metric).groupby(level=list(by), sort=False).mean()
    complete = scores.dropna(axis=1)
    left_out = [str(name) for name in scores if name not in complete]
    if complete.shape[1] < 2:
        raise RecordError(
            f"ranks of {metric} need two methods with a value in every setting: {complete.shape[1]} found"
        )
    ranks = average_ranks(complete, lower_is_better(metric))
    pairwise = wilcoxon(complete, generator)
    return Ranking(ranks, friedman(complete, generator), pairwise, cliques(ranks, pairwise), len(complete), left_out)


def average_ranks(scores: pd.DataFrame, lower: bool = False) -> "pd.Series[float]":
    """The mean rank of each column over the rows, best first; ties share their ranks."""
    return scores.round(DIGITS).rank(axis=1, ascending=lower).mean().sort_values(kind="stable")


def friedman(scores: pd.DataFrame, generator: np.random.Generator) -> float:
    """p of Friedman's test that all columns rank alike; rows are settings.

    The statistic is compared with that of 2,000 random reorderings of each row. For a few settings the chi-squared
    approximation is wrong, and Iman and Davenport's F gives p = 0 to two settings that agree by chance.
    """
    ranks = scores.round(DIGITS).rank(axis=1).to_numpy()
    shuffled = generator.permuted(np.broadcast_to(ranks, (REORDERINGS, *ranks.shape)), axis=2)
    spread = np.append(shuffled.mean(axis=1).var(axis=1), observed := ranks.mean(axis=0).var())
    return float(np.mean(spread >= observed - 1e-9))


def wilcoxon(scores: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """p of Wilcoxon's signed-rank test over the rows [methods, methods], adjusted by max-T over all pairs of columns.

    It is the sign-flip test of signed ranks, exact with ties and with zero differences (Pratt's treatment).
    `scikit_posthocs.critical_difference_diagram` takes it as its `sig_matrix`.
    """
    values = scores.round(DIGITS).to_numpy()
    first, second = np.triu_indices(values.shape[1], 1)
    gaps = np.round(values[:, first] - values[:, second], DIGITS)
    signed = np.sign(gaps) * rankdata(np.abs(gaps), axis=0)
    p = np.ones((values.shape[1], values.shape[1]))
    p[first, second] = p[second, first] = max_t(signed, generator)
    return pd.DataFrame(p, index=scores.columns, columns=scores.columns)


def cliques(ranks: "pd.Series[float]", pairwise: pd.DataFrame) -> list[list[str]]:
    """The largest groups of methods, neighbours in rank, in which no two differ significantly: the diagram's bars."""
    names = list(ranks.index)
    similar = pairwise.loc[names, names].to_numpy() > ALPHA
    groups: list[list[str]] = []
    reached = 0
    for start in range(len(names)):
        stop = start + 1
        while stop < len(names) and np.all(similar[start:stop, stop]):
            stop += 1
        if stop - start > 1 and stop > reached:
            groups.append(names[start:stop])
        reached = max(reached, stop)
    return groups
