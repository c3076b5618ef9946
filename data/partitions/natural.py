"""The partition that the data set itself publishes: who took or owns an image is its client."""

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.partitions.assignment import Assignment
from fedprompt.data.partitions.positions import set_aside
from fedprompt.data.partitions.registry import partition

TEST_SHARE = 0.2


@partition("natural")
def natural(
    dataset: DataSet, rng: np.random.Generator, *, clients: int | None = None, min_samples: int = 1
) -> Assignment:
    """The data set's own clients; those with fewer than `min_samples` training images are dropped and counted.

    `clients` of the others are drawn at random where a number is given. Where the data set names no test clients, a
    share of 0.2 of each client's own training images is set aside for testing: at least one, but none of a single one.
    """
    if dataset.train_clients is None:
        raise DataError(f"{dataset.name} names no clients of its own: use another partition, such as dirichlet")
    names = len(dataset.client_names)
    sizes = np.bincount(dataset.train_clients, minlength=names)
    chosen = np.flatnonzero(sizes >= min_samples)
    dropped = int(np.count_nonzero(sizes)) - len(chosen)
    if len(chosen) < (clients or 2):
        found = f"{len(chosen)} clients of at least {min_samples} training images (--min-samples)"
        raise DataError(f"{dataset.name} has {found}; need {clients or 2}: lower --clients or --min-samples")
    if clients is not None:
        chosen = np.sort(rng.choice(chosen, clients, replace=False))
    train = _of_each(dataset.train_clients, chosen, names)
    if dataset.test_clients is None:
        train, test = set_aside(train, TEST_SHARE, rng)
        return Assignment(train, test, None, [None] * len(chosen), test_part="train", dropped=dropped)
    test = _of_each(dataset.test_clients, chosen, names)
    return Assignment(train, test, None, [None] * len(chosen), dropped=dropped)


def _of_each(owners: Array, chosen: Array, names: int) -> list[Array]:
    ends = np.bincount(owners, minlength=names).cumsum()[:-1]
    positions = np.split(np.argsort(owners, kind="stable"), ends)
    return [positions[client] for client in chosen]
