"""Partitions without label skew: equal clients, and clients that differ in size alone."""

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.partitions.assignment import Assignment, assign
from fedprompt.data.partitions.labels import dirichlet_priors
from fedprompt.data.partitions.registry import partition


@partition("iid")
def iid(dataset: DataSet, rng: np.random.Generator, *, clients: int = 20) -> Assignment:
    """Every client wants the class shares of the whole training set, in equal numbers."""
    return assign(dataset, _shares_of_all(dataset, clients), rng)


@partition("quantity")
def quantity(dataset: DataSet, rng: np.random.Generator, *, alpha: float = 0.5, clients: int = 20) -> Assignment:
    """Every client wants the class shares of the whole training set; one draw from Dir(alpha 1_K) sets the sizes.

    After Li, Diao, Chen and He (2022); no client is left without a sample.
    """
    return assign(dataset, _shares_of_all(dataset, clients), rng, dirichlet_priors(alpha, 1, clients, rng)[0])


def _shares_of_all(dataset: DataSet, clients: int) -> Array:
    counts = np.bincount(dataset.train_y, minlength=len(dataset.classes))
    return np.tile(counts / counts.sum(), (clients, 1))
