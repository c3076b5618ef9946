"""Positions of samples per client: counting, checking, splitting."""

from collections.abc import Sequence

import numpy as np

from fedprompt.data.dataset import Array
from fedprompt.data.errors import DataError


def class_counts(labels: Array, positions: Sequence[Array], classes: int) -> Array:
    """Returns the number of samples per client and class, int64 [K, C]."""
    pairs = _clients_of(positions) * classes + labels[np.concatenate(positions)]
    return np.bincount(pairs, minlength=len(positions) * classes).reshape(-1, classes)


def check_positions(part: str, positions: Sequence[Array], samples: int) -> None:
    """Raises DataError if a position is not in 0 to `samples` - 1 or is assigned twice."""
    assigned, client = np.concatenate(positions), _clients_of(positions)
    if (wrong := np.flatnonzero((assigned < 0) | (assigned >= samples))).size:
        sample = assigned[wrong[0]]
        raise DataError(f"client {client[wrong[0]]} has {part} sample {sample}; need 0 to {samples - 1}")
    times = np.bincount(assigned, minlength=samples)
    if (times > 1).any():
        repeated = int(times.argmax())
        clients = ", ".join(map(str, client[assigned == repeated]))
        raise DataError(f"{part} sample {repeated} is assigned {times[repeated]} times, to clients {clients}")


def check_not_empty(train: Sequence[Array]) -> None:
    """Raises DataError if a client has no training sample."""
    if empty := [client for client, positions in enumerate(train) if not len(positions)]:
        raise DataError(f"client {empty[0]} has no training sample; each client needs at least one")


def set_aside(positions: Sequence[Array], share: float, rng: np.random.Generator) -> tuple[list[Array], list[Array]]:
    """Splits each client's samples at random, and returns the remaining ones and those set aside, both in order.

    If `share` is above 0, at least one sample is set aside and one remains; a single sample remains.
    """
    remaining, aside = [], []
    for client in positions:
        size = len(client)
        count = min(size - 1, max(1, round(share * size))) if share and size else 0
        chosen = np.zeros(size, dtype=bool)
        chosen[rng.permutation(size)[:count]] = True
        remaining.append(client[~chosen])
        aside.append(client[chosen])
    return remaining, aside


def _clients_of(positions: Sequence[Array]) -> Array:
    return np.repeat(np.arange(len(positions)), [len(client) for client in positions])
