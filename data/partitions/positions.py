"""Positions of samples, held by clients: counted, checked, and set aside."""

from collections.abc import Sequence

import numpy as np

from fedprompt.data.dataset import Array
from fedprompt.data.errors import DataError


def class_counts(labels: Array, positions: Sequence[Array], classes: int) -> Array:
    """How many samples of each class every client holds, int64 [K, C]."""
    owner = _owners(positions)
    cells = owner * classes + labels[np.concatenate(positions)]
    return np.bincount(cells, minlength=len(positions) * classes).reshape(-1, classes)


def check_positions(part: str, positions: Sequence[Array], samples: int) -> None:
    """Raises DataError, naming the client, unless every position lies in the data and has one holder."""
    held, owner = np.concatenate(positions), _owners(positions)
    if (wrong := np.flatnonzero((held < 0) | (held >= samples))).size:
        raise DataError(f"client {owner[wrong[0]]} holds {part} sample {held[wrong[0]]}; there are 0 to {samples - 1}")
    times = np.bincount(held, minlength=samples)
    if (times > 1).any():
        twice = int(times.argmax())
        holders = ", ".join(map(str, owner[held == twice]))
        raise DataError(f"{part} sample {twice} is held {times[twice]} times, by clients {holders}")


def check_some(train: Sequence[Array]) -> None:
    """Raises DataError for a client without a training sample."""
    if empty := [k for k, own in enumerate(train) if not len(own)]:
        raise DataError(f"client {empty[0]} holds no training sample; each needs at least one")


def set_aside(positions: Sequence[Array], share: float, rng: np.random.Generator) -> tuple[list[Array], list[Array]]:
    """What each client keeps, and the `share` of its samples drawn at random to be set aside, both in order.

    Where the share is above 0 at least one sample is set aside and one kept; of a single sample none is set aside.
    """
    kept, aside = [], []
    for own in positions:
        count = min(len(own) - 1, max(1, round(share * len(own)))) if share and len(own) else 0
        chosen = np.zeros(len(own), dtype=bool)
        chosen[rng.permutation(len(own))[:count]] = True
        kept.append(own[~chosen])
        aside.append(own[chosen])
    return kept, aside


def _owners(positions: Sequence[Array]) -> Array:
    return np.repeat(np.arange(len(positions)), [len(p) for p in positions])
