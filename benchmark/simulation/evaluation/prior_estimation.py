"""Class shares of an unlabelled client, estimated from a classifier's outputs on its samples.

Both estimators assume label shift: the samples of a class look alike at every client, and only the shares differ.
"""

import numpy as np

ITERATIONS = 1000
TOLERANCE = 1e-6
FLOOR = 1e-3
"""Weight of the source prior in a BBSE estimate, which else excludes a class for noise; ATP's code mixes in as much."""
SINGULAR = 1e-6
"""Singular values below this share of the largest count as zero."""


def em(log_likelihood: np.ndarray, source: np.ndarray) -> np.ndarray | None:
    """Saerens et al. (2002): the shares [C] that make unlabelled samples most likely, by expectation maximisation.

    Starts from the source prior. Each step is q_c <- mean over samples of the posterior under q, which is the source
    posterior times q_c / source_c, normalised: the source prior cancels, and log densities suffice.

    Args:
        log_likelihood: log p(x | c) [N, C] up to a term per sample; -inf where a class cannot be.
        source: Class shares of the training data [C]; a class that it lacks keeps the share 0.

    Returns:
        The shares; None without samples, or if the source has no class that is possible for some sample.
    """
    with np.errstate(divide="ignore"):
        shares, possible = source, np.isfinite(log_likelihood + np.log(source)).any(1)
        if not len(log_likelihood) or not possible.all():
            return None
        for _ in range(ITERATIONS):
            scores = log_likelihood + np.log(shares)
            weights = np.exp(scores - scores.max(1, keepdims=True))
            updated = (weights / weights.sum(1, keepdims=True)).mean(0)
            change, shares = np.abs(updated - shares).sum(), updated
            if change < TOLERANCE:
                break
    return shares / shares.sum()


def bbse(predicted: np.ndarray, confusion: np.ndarray) -> np.ndarray | None:
    """Lipton et al. (2018): the shares q >= 0 [C] that best explain how often each class is predicted.

    Solves min |A q - p| with A[i, j] = P(i is predicted | j is true) on labelled source samples, p the shares of the
    predictions, and normalises q. Classes without source samples have the share 0.

    Args:
        predicted: Number of samples for which each class is predicted, [C].
        confusion: Source samples by predicted (row) and true class (column), [C, C].

    Returns:
        The shares; None without samples, if A is singular, or if the solver does not converge.
    """
    from scipy.optimize import nnls  # scipy takes 0.3 s to import, and most runs estimate nothing

    known = np.flatnonzero(confusion.sum(0))
    if not predicted.sum() or not len(known):
        return None
    rates = confusion[:, known] / confusion[:, known].sum(0)
    values = np.linalg.svd(rates, compute_uv=False)
    if values[-1] < SINGULAR * values[0]:
        return None
    try:
        solution = nnls(rates, predicted / predicted.sum())[0]
    except RuntimeError:  # too many iterations
        return None
    if not solution.sum():
        return None
    shares, source = np.zeros(len(confusion)), confusion.sum(0) / confusion.sum()
    shares[known] = solution / solution.sum()
    return (1 - FLOOR) * shares + FLOOR * source
