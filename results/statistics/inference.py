"""Confidence intervals and tests of plain numbers for few seeds; no data frames.

Two runs form a pair if they share data set, partition and seed: both then have the same clients.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from fedprompt.results.statistics.threads import one_thread

LEVEL = 0.95
DRAWS = 5_000
ENUMERATED = 14  # the most pairs for which all sign flips are enumerated: 16,384
GRID = 50_000
MANY = 10  # values, of which nearly all resamples are distinct
CHUNK = 1_000_000  # resampled numbers in memory at a time
Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A statistic of `n` values and its interval; NaN if `n` is too small for one.

    `level` is the highest coverage that the interval can reach: 0.95, or less if `n` is too small.
    """

    value: float
    low: float
    high: float
    n: int
    level: float


def least_p(n: int) -> float:
    """The smallest two-sided p of a sign-flip test with `n` pairs: 2/2^n; 1 without pairs."""
    return min(1.0, 2.0 ** (1 - n))


def pairs_needed(alpha: float = 1 - LEVEL) -> int:
    """The least number of pairs whose smallest p is at most `alpha`: 6 for 5 %."""
    return next(n for n in range(1, 1100) if least_p(n) <= alpha)


def bootstrap_mean(
    values: ArrayLike, generator: np.random.Generator | None, strata: ArrayLike | None = None
) -> Estimate:
    """The mean with its bootstrap interval, resampled within strata; without a generator the mean only.

    Percentiles are expanded for small samples (Hesterberg, What Teachers Should Know About the Bootstrap, Am. Stat.
    2015): the plain percentiles of six seeds miss the mean in one case of seven. With two to five values no percentile
    reaches 95 %: `level` is then 1 - 2^(1 - n). All strata (the setting of each value) have equal weight in the mean.
    """
    numbers, groups = _stratified(values, strata)
    return _interval(numbers * _weights(groups), groups, generator, lambda drawn: drawn.mean(axis=-1))


def bootstrap_bounds(strata: Sequence[Floats], seed: int) -> tuple[Floats, Floats]:
    """The intervals of `bootstrap_mean` with a generator of this seed, for many groups of values.

    `strata` holds one array [groups, values] per stratum, in the order of their names. Returns two arrays [groups], the
    lower and the upper bounds.
    """
    sizes = tuple(values.shape[1] for values in strata)
    distinct, counts = _distinct_resamples(sizes, seed)
    weights, values = 1 / (np.repeat(sizes, sizes) * len(sizes)), np.concatenate(strata, axis=1)
    places = _tails(sum(sizes), sum(sizes) - len(sizes)) * (DRAWS - 1)
    bounds = []
    with one_thread():
        for rows in np.array_split(values * weights, 1 + len(values) // 250):
            parts = ((part.astype(float) @ rows.T).T for part in np.array_split(distinct, 1 + distinct.size // CHUNK))
            bounds.append(_order_statistics(np.concatenate(list(parts), axis=1), counts, places))
    low, high = np.concatenate(bounds, axis=1)
    return low, high


@lru_cache(maxsize=2)
def _distinct_resamples(sizes: tuple[int, ...], seed: int) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
    """The distinct ones of `DRAWS` resamples, [resamples, values]: how often each has each value; and their numbers.

    Three values have ten distinct resamples: to sort these takes less time than to sort all.
    """
    generator, drawn = np.random.default_rng(seed), []
    for size in sizes:
        places = generator.integers(size, size=(DRAWS, size))
        places += size * np.arange(DRAWS)[:, None]
        counted = np.bincount(places.ravel(), minlength=DRAWS * size).reshape(DRAWS, size)
        drawn.append(counted.astype(np.min_scalar_type(counted.max())))
    resamples = np.concatenate(drawn, axis=1)
    if sum(sizes) > MANY:
        return resamples, np.ones(DRAWS, dtype=int)
    distinct, counts = np.unique(resamples, axis=0, return_counts=True)
    return distinct, counts


def _order_statistics(values: Floats, counts: NDArray[np.int64], places: Floats) -> Floats:
    """The numbers at these places, between whole ones by interpolation, of each sorted row; [places, rows].

    Column i of `values` counts `counts[i]` times.
    """
    order = np.argsort(values, axis=1)
    last = np.cumsum(counts[order], axis=1)
    rows = np.arange(len(values))
    found = [
        [values[rows, order[rows, (last <= at).sum(axis=1)]] for at in (int(place), min(int(place) + 1, DRAWS - 1))]
        for place in places
    ]
    return np.array([low + (high - low) * (at % 1) for (low, high), at in zip(found, places, strict=True)])


def interquartile_mean(values: ArrayLike, strata: ArrayLike, generator: np.random.Generator) -> Estimate:
    """The mean of the middle half of all values, with a bootstrap interval resampled within `strata` (settings).

    Robust to one very easy or very hard setting (Agarwal et al., Deep RL at the Edge of the Statistical Precipice,
    NeurIPS 2021).
    """
    from scipy import stats

    numbers, groups = _stratified(values, strata)
    return _interval(numbers, groups, generator, lambda drawn: np.asarray(stats.trim_mean(drawn, 0.25, axis=-1)))


def sign_flip(differences: ArrayLike) -> float:
    """Two-sided p of a mean of paired differences under all sign flips; 1 without pairs.

    Exact for up to 14 pairs. For more, the sums of all 2^n flips are counted on a grid of 50,000 steps, rounded towards
    a larger p. Unlike sampled flips this is deterministic.
    """
    observed = np.asarray(differences, dtype=float)
    size, count = np.abs(observed).sum(), len(observed)
    if size == 0:
        return 1.0
    if count > ENUMERATED:
        return _on_grid(np.rint(observed / size * GRID).astype(np.int64))
    sums = np.abs(all_signs(count) @ observed)
    return float(np.mean(sums >= np.abs(observed.sum()) - 1e-12 * size))  # equal sums may differ by rounding


def probability_of_improvement(values: ArrayLike, reference: ArrayLike) -> Estimate:
    """The share of pairs in which `values` exceed `reference`, ties counted half, with a Clopper-Pearson interval.

    Agarwal et al. (2021) compare every run with every other; here only pairs are compared, since runs of one seed have
    the same clients. If all pairs agree, the exact interval is still valid; a bootstrap interval would have width 0.
    """
    from scipy import stats  # takes a second to import

    differences = np.subtract(values, reference)
    n = len(differences)
    if not n:
        return Estimate(np.nan, np.nan, np.nan, 0, 0.0)
    wins = float((differences > 0).sum() + (differences == 0).sum() / 2)
    tail = (1 - LEVEL) / 2
    low = 0.0 if wins == 0 else float(stats.beta.ppf(tail, wins, n - wins + 1))
    high = 1.0 if wins == n else float(stats.beta.ppf(1 - tail, wins + 1, n - wins))
    return Estimate(wins / n, low, high, n, LEVEL)


def _stratified(values: ArrayLike, strata: ArrayLike | None) -> tuple[Floats, NDArray[np.int64]]:
    numbers = np.asarray(values, dtype=float)
    names = np.zeros(len(numbers)) if strata is None else np.asarray(strata)
    return numbers, np.unique(names, return_inverse=True)[1]


def _weights(groups: NDArray[np.int64]) -> Floats:
    """Weights of mean 1 that give all strata equal weight."""
    if not len(groups):
        return np.ones(0)
    sizes = np.bincount(groups)
    return len(groups) / (len(sizes) * sizes[groups])


def _interval(
    numbers: Floats,
    groups: NDArray[np.int64],
    generator: np.random.Generator | None,
    statistic: Callable[[Floats], Floats],
) -> Estimate:
    n, freedom = len(numbers), len(numbers) - len(np.unique(groups))
    if not n:
        return Estimate(np.nan, np.nan, np.nan, 0, 0.0)
    value = float(statistic(numbers[None])[0])
    if not freedom or generator is None:
        return Estimate(value, np.nan, np.nan, n, 0.0)
    parts = np.array_split(_resampled(groups, generator), -(-DRAWS * n // CHUNK))
    drawn = np.concatenate([statistic(numbers[part]) for part in parts])
    low, high = np.quantile(drawn, _tails(n, freedom))
    return Estimate(value, float(low), float(high), n, reached(n))


def reached(n: int) -> float:
    """The highest coverage of a bootstrap interval of `n` values: 0.95, or less if `n` is too small."""
    return min(LEVEL, 1 - least_p(n))


@cache
def _tails(n: int, freedom: int) -> Floats:
    """The lower and upper quantile of the resampled means of `n` values that bound the interval."""
    # The spread of resampled means is sqrt((n - 1) / n) too small, and their tails are lighter than Student's.
    width = np.sqrt(n / freedom) * special.stdtrit(freedom, (1 + LEVEL) / 2)
    return np.asarray(special.ndtr([-width, width]))


def _resampled(groups: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.unsignedinteger]:
    """Indices [DRAWS, n] drawn with replacement within each stratum."""
    drawn, filled = np.empty((DRAWS, len(groups)), np.min_scalar_type(len(groups))), 0
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group).astype(drawn.dtype)
        ended = filled + len(members)
        drawn[:, filled:ended] = members[generator.integers(len(members), size=(DRAWS, len(members)))]
        filled = ended
    return drawn


def _on_grid(steps: NDArray[np.int64]) -> float:
    """p of the sum of `steps` among the sums of all sign flips, by convolution; rounding may move two sums by n."""
    sizes = np.abs(steps)
    total = int(sizes.sum())
    probability = np.zeros(total + 1)  # of each sum of the sizes with a positive sign
    probability[0] = 1
    for size in sizes:
        shifted = np.zeros_like(probability)
        shifted[size:] = probability[: total + 1 - size]
        probability = (probability + shifted) / 2
    sums = np.abs(2 * np.arange(total + 1) - total)
    return float(min(1.0, probability[sums >= abs(int(steps.sum())) - len(steps)].sum()))


@cache
def all_signs(count: int) -> Floats:
    """All sign flips of `count` numbers, [2^count, count]; the first half keeps the first number's sign."""
    return np.array(list(product((1.0, -1.0), repeat=count))).reshape(2**count, count)
