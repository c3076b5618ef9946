"""Label skew that the clients of a federation have, as opposed to the one that was asked for."""

from dataclasses import dataclass

import numpy as np

from fedprompt.data.dataset import Array


@dataclass(frozen=True)
class LabelSkew:
    """Label skew of the clients, from their class counts.

    Attributes:
        concentration: Concentration alpha of the symmetric Dirichlet distribution with the clients' mean s of the sum
            of squared class shares. With C classes the expectation of this sum is (alpha + 1) / (C alpha + 1), so
            alpha = (1 - s) / (C s - 1). None if all shares are equal (alpha is unbounded). Classes of unequal size
            count as skew. The likelihood of shares is no alternative: it contains the log of every share, and clients
            lack classes; that of counts assumes independent draws, but samples are assigned by rounding.
        drift: Mean total variation distance between the class shares that were drawn for a client and those of its
            training samples. 0 if none were drawn.
        test_drift: Mean total variation distance between the class shares of a client's training and test samples,
            over clients with test samples; None if there are none. Methods know the training shares only, so this
            distance is the error of their prior on the test samples, and it needs no drawn shares.
        majority_share: Mean share of a client's most frequent training class.
        classes_per_client: Mean number of classes among a client's training samples.
        untrained_tests: Share of the seen clients' test samples whose class is not among the training samples of their
            client; None without such samples.
    """

    concentration: float | None
    drift: float
    test_drift: float | None
    majority_share: float
    classes_per_client: float
    untrained_tests: float | None


def label_skew(counts: Array, test_counts: Array, seen: Array, drift: float) -> LabelSkew:
    """Returns the label skew of clients.

    Args:
        counts: Training samples per client and class [K, C], at least one per client.
        test_counts: Test samples per client and class [K, C].
        seen: Ids of the clients that training can sample.
        drift: See `LabelSkew`.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    tested = np.flatnonzero(test_counts.sum(axis=1))
    distances = total_variation(shares[tested], test_counts[tested] / test_counts[tested].sum(axis=1, keepdims=True))
    return LabelSkew(
        _concentration(shares),
        drift,
        float(distances.mean()) if len(tested) else None,
        float(shares.max(axis=1).mean()),
        float((counts > 0).sum(axis=1).mean()),
        share_of_tests(test_counts[seen], counts[seen] == 0),
    )


def total_variation(shares: Array, others: Array) -> Array:
    """Returns the total variation distance between two sets of class shares [K, C] per client, 0 to 1."""
    return np.asarray(np.abs(shares - others).sum(axis=1) / 2)


def share_of_tests(test_counts: Array, chosen: Array) -> float | None:
    """Returns the share of the test samples [K, C] that `chosen` selects, a boolean mask; None without samples."""
    tests = int(test_counts.sum())
    return int(test_counts[chosen].sum()) / tests if tests else None


def _concentration(shares: Array) -> float | None:
    moment, classes = float(np.square(shares).sum(axis=1).mean()), shares.shape[1]
    excess = classes * moment - 1
    return (1 - moment) / excess if excess > classes * np.finfo(np.float64).eps else None
