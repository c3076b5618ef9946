"""Tests of many comparisons at once: Westfall and Young's step-down max-T, by sign flips that all of them share."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedprompt.results.statistics.inference import ENUMERATED, all_signs
from fedprompt.results.statistics.threads import one_thread

Floats = NDArray[np.float64]
FLIPS = 10_000  # drawn where there are too many to enumerate
CHUNK = 1_000_000  # numbers in memory at a time
ROUNDING = 1e-9  # equal statistics may differ by this


def max_t(differences: ArrayLike, generator: np.random.Generator) -> Floats:
    """The adjusted two-sided p of each comparison: it bounds the chance of any false positive in the family.

    `differences` [units, comparisons] holds one paired difference per unit (seed), NaN for none. Under the null
    hypothesis a unit's differences may change sign, all of them together; so the flips keep the dependence between
    comparisons, which Holm's correction ignores: with n units p can be 2/2^n, however many comparisons there are.

    The statistic is a moderated t: the sum over s + s0, where s is the root of the sum of squares and s0 the first
    quartile of s over the family. No flip changes s or s0, so the test stays exact. Without s0 (Student's t), some of
    hundreds of small comparisons is nearly constant under some flip; with the plain mean, noisy comparisons hide the
    others. All flips of up to 14 units are enumerated; of more, 10,000 are drawn. NaN for comparisons without a
    difference.

    Westfall and Young, Resampling-Based Multiple Testing, 1993, algorithm 4.1; Tusher, Tibshirani and Chu, PNAS
    2001, for s0.
    """
    given = np.asarray(differences, dtype=float)
    adjusted = np.full(given.shape[1], np.nan)
    given = given[~np.isnan(given).all(axis=1)]
    values = np.nan_to_num(given)
    tested = ~np.isnan(given).all(axis=0)
    if not tested.any():
        return adjusted
    size = np.sqrt((values**2).sum(axis=0))
    scale = size + np.quantile(size[tested], 0.25)
    scaled = values / np.where(scale > 0, scale, 1)
    observed = np.abs(scaled.sum(axis=0))
    ascending = np.argsort(observed, kind="stable")
    ascending = ascending[tested[ascending]]
    bounds, scaled = observed[ascending] - ROUNDING, scaled[:, ascending]
    reached, flips = np.zeros(len(ascending)), 0
    for part in _signs(len(given), generator, most=max(1, CHUNK // max(scaled.shape))):
        # Step down: each comparison competes with those of a smaller statistic only.
        with one_thread():
            products = part @ scaled
        largest = np.maximum.accumulate(np.abs(products), axis=1)
        reached += (largest >= bounds).sum(axis=0)
        flips += len(part)
    adjusted[ascending] = np.maximum.accumulate(reached[::-1] / flips)[::-1]
    return adjusted


def _signs(units: int, generator: np.random.Generator, most: int) -> Iterator[Floats]:
    """Sign flips in parts [flips, units] of at most `most`, the very first of which changes nothing.

    A flip and its mirror have the same statistic: half of all are enough.
    """
    if units <= ENUMERATED:
        signs = all_signs(units)[: 2 ** (units - 1)]
        yield from np.array_split(signs, -(-len(signs) // most))
        return
    yield np.ones((1, units))
    for start in range(0, FLIPS, most):
        yield generator.choice([-1.0, 1.0], size=(min(most, FLIPS - start), units))
