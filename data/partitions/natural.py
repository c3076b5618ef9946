"""The partition that the data set publishes: the clients that took or own its images."""

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
    """The data set's own clients, without those that have fewer than `min_samples` training images.

    `clients`, if given, is the number of clients drawn at random. If the data set does not assign its test images, a
    share of 0.2 of each client's training images is set aside for testing: at least one image, none of a single one.
    """
    if dataset.train_clients is None:
        raise DataError(f"{dataset.name} has no natural clients: use another partition, such as dirichlet")
    count = len(dataset.client_names)
    sizes = np.bincount(dataset.train_clients, minlength=count)
    chosen = np.flatnonzero(sizes >= min_samples)
    dropped = int(np.count_nonzero(sizes)) - len(chosen)
    if len(chosen) < (clients or 2):
        large = f"{len(chosen)} clients with at least {min_samples} training images (--min-samples)"
        raise DataError(f"{dataset.name} has {large}; need {clients or 2}: lower --clients or --min-samples")
    if clients is not None:
        chosen = np.sort(rng.choice(chosen, clients, replace=False))
    train = _positions(dataset.train_clients, chosen, count)
    no_domains = [None] * len(chosen)
    if dataset.test_clients is None:
        train, test = set_aside(train, TEST_SHARE, rng)
        return Assignment(train, test, None, no_domains, test_part="train", dropped=dropped)
    return Assignment(train, _positions(dataset.test_clients, chosen, count), None, no_domains, dropped=dropped)


def _positions(client_of: Array, chosen: Array, count: int) -> list[Array]:
    """The positions of the samples of each chosen client."""
    ends = np.bincount(client_of, minlength=count).cumsum()[:-1]
    positions = np.split(np.argsort(client_of, kind="stable"), ends)
    return [positions[client] for client in chosen]
