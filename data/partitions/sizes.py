"""Partitions without label skew: clients of equal sizes, and of skewed sizes."""

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.partitions.assignment import Assignment, assign
from fedprompt.data.partitions.labels import dirichlet_priors
from fedprompt.data.partitions.registry import partition


@partition("iid")
def iid(dataset: DataSet, rng: np.random.Generator, *, clients: int = 20) -> Assignment:
    """Every client has the class shares of the whole training set; all sizes are equal."""
    return assign(dataset, _global_shares(dataset, clients), rng)


@partition("quantity")
def quantity(dataset: DataSet, rng: np.random.Generator, *, alpha: float = 0.5, clients: int = 20) -> Assignment:
    """Every client has the class shares of the whole training set; sizes are drawn from Dir(alpha 1_K).

    Source: Li, Diao, Chen and He (2022). Each client has at least one sample.
    """
    return assign(dataset, _global_shares(dataset, clients), rng, dirichlet_priors(alpha, 1, clients, rng)[0])


def _global_shares(dataset: DataSet, clients: int) -> Array:
    counts = np.bincount(dataset.train_y, minlength=len(dataset.classes))
    return np.tile(counts / counts.sum(), (clients, 1))
