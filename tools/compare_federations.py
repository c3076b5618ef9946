"""Compare the clients of `--partition dirichlet` with those of flwr-datasets and PFLlib, on scikit-learn's digits.

Prints the tables of docs/federations.md. It needs one package that the harness does not:

    pip install flwr-datasets
    python tools/compare_federations.py
"""

import sys
import warnings
from collections.abc import Callable

import numpy as np

from fedprompt.data import federation as federations
from fedprompt.data import loading
from fedprompt.data.dataset import DataSet
from fedprompt.data.label_skew import label_skew
from fedprompt.data.partitions.settings import PartitionSettings

CLIENTS, ALPHAS, SEEDS = 20, (0.05, 0.5), range(10)
ATTEMPTS = 1000
CLASSES = 10
Rows = list[np.ndarray]
"""Positions of the samples of each client."""
Counts = tuple[np.ndarray, np.ndarray]
"""Training and test samples per client and class, [K, C] each."""
Divide = Callable[[DataSet, float, int], Counts | None]
"""(data set, alpha, seed) -> the clients; None if the algorithm gives none."""


def ours(data: DataSet, alpha: float, seed: int) -> Counts:
    """The harness: one draw of class shares per client, for training and test samples alike."""
    settings = PartitionSettings("dirichlet", alpha, CLIENTS, held_out=0.2)
    found = federations.build(data, settings, lambda purpose: np.random.default_rng([seed, len(purpose)]))
    return found.counts, found.test_counts


def flower_parts(shift: int, least: int = 0) -> Divide:
    """Flower's partitioner on the training part, and with a seed that differs by `shift` on the test part.

    `least` is its smallest number of samples of a client, 10 by default. It raises ValueError after ten attempts.
    """

    def divide(data: DataSet, alpha: float, seed: int) -> Counts | None:
        try:
            parts = flower(data.train_y, alpha, seed, least), flower(data.test_y, alpha, seed + shift, least)
        except ValueError:
            return None
        return counts(data.train_y, parts[0]), counts(data.test_y, parts[1])

    return divide


def flower_local_split(data: DataSet, alpha: float, seed: int) -> Counts:
    """Flower's partitioner on the training part; a fifth of each client's samples are its test samples."""
    rng = np.random.default_rng(seed)
    mixed = [rng.permutation(rows) for rows in flower(data.train_y, alpha, seed)]
    train, test = [own[len(own) // 5 :] for own in mixed], [own[: len(own) // 5] for own in mixed]
    return counts(data.train_y, train), counts(data.train_y, test)


def flower(labels: np.ndarray, alpha: float, seed: int, least: int = 0) -> Rows:
    """Positions by client of flwr-datasets' DirichletPartitioner, for shuffled samples as in a downloaded data set."""
    from datasets import Dataset
    from flwr_datasets.partitioner import DirichletPartitioner

    order = np.random.default_rng(len(labels)).permutation(len(labels))
    partitioner = DirichletPartitioner(CLIENTS, "label", alpha, min_partition_size=least, seed=seed)
    partitioner.dataset = Dataset.from_dict({"label": labels[order].tolist(), "row": order.tolist()})
    return [np.array(partitioner.load_partition(k)["row"], np.int64) for k in range(CLIENTS)]


def pfllib(data: DataSet, alpha: float, seed: int) -> Counts | None:
    """PFLlib's algorithm (TsingZ0/PFLlib, dataset/utils/dataset_utils.py): training and test samples are pooled."""
    rng, labels = np.random.default_rng(seed), np.concatenate([data.train_y, data.test_y])
    owner, _ = pfllib_owners(labels, alpha, CLIENTS, rng)
    if owner is None:
        return None
    mixed = [rng.permutation(np.flatnonzero(owner == client)) for client in range(CLIENTS)]
    train, test = [own[: 3 * len(own) // 4] for own in mixed], [own[3 * len(own) // 4 :] for own in mixed]
    return counts(labels, train), counts(labels, test)


def pfllib_owners(
    labels: np.ndarray, alpha: float, clients: int, rng: np.random.Generator
) -> tuple[np.ndarray | None, int]:
    """The client of each sample, and the attempts; None after `ATTEMPTS` (PFLlib itself never stops).

    Each class draws its shares over the clients from a Dirichlet distribution; a client with the mean number of samples
    gets no more. All is drawn again until the smallest client has 40 samples, or half the mean if that is less.
    """
    mean = len(labels) / clients
    least = int(min(10 / 0.25, mean / 2))
    for attempt in range(1, ATTEMPTS + 1):
        owner, sizes = np.full(len(labels), -1), np.zeros(clients, int)
        for c in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == c))
            shares = rng.dirichlet(np.full(clients, alpha)) * (sizes < mean)
            if not shares.sum() > 0:
                break
            ends = (np.cumsum(shares / shares.sum()) * len(rows)).astype(int)[:-1]
            for client, own in enumerate(np.split(rows, ends)):
                owner[own] = client
                sizes[client] += len(own)
        if (owner >= 0).all() and sizes.min() >= least:
            return owner, attempt
    return None, ATTEMPTS


def counts(labels: np.ndarray, rows: Rows) -> np.ndarray:
    """Samples per client and class, [K, C]."""
    return np.stack([np.bincount(labels[own], minlength=CLASSES) for own in rows])


def measured(data: DataSet, alpha: float, divide: Divide) -> list[str]:
    """The number of seeds that gave a federation, and means over these."""
    found = [numbers(*parts) for seed in SEEDS if (parts := divide(data, alpha, seed)) is not None]
    if not found:
        return ["0", *["-"] * 5]
    drift, untrained, few, low, high = np.mean(found, axis=0)
    return [str(len(found)), f"{drift:.2f}", f"{untrained:.0%}", f"{few:.0%}", f"{low:.0f}", f"{high:.0f}"]


def numbers(train: np.ndarray, test: np.ndarray) -> tuple[float, ...]:
    """Distance of training and test shares, tests of untrained classes, clients with few tests, extreme sizes.

    The first two are over clients with training samples.
    """
    sizes = train.sum(1)
    skew = label_skew(train[sizes > 0], test[sizes > 0], np.arange(int((sizes > 0).sum())), 0.0)
    few = float((test.sum(1) < 5).mean())
    return skew.test_drift or 0.0, skew.untrained_tests or 0.0, few, float(sizes.min()), float(sizes.max())


ROWS: tuple[tuple[str, Divide], ...] = (
    ("ours, `dirichlet`", ours),
    ("Flower, both parts, one seed, default minimum of 10", flower_parts(0, least=10)),
    ("Flower, both parts, one seed, no minimum", flower_parts(0)),
    ("Flower, both parts, two seeds, no minimum", flower_parts(1000)),
    ("Flower, training part only, split at each client", flower_local_split),
    ("PFLlib", pfllib),
)


def main() -> int:
    """Print one table per alpha, and the attempts that PFLlib's algorithm needs."""
    warnings.simplefilter("ignore")  # Flower warns at every new attempt
    data = loading.load("digits")
    for alpha in ALPHAS:
        print(f"\nalpha {alpha}: seeds, drift, test of untrained classes, clients with < 5 tests, smallest, largest")
        for name, divide in ROWS:
            print("| " + " | ".join([name, *measured(data, alpha, divide)]) + " |", flush=True)
        pool = np.concatenate([data.train_y, data.test_y])
        tries = [pfllib_owners(pool, alpha, CLIENTS, np.random.default_rng(seed)) for seed in SEEDS]
        print("PFLlib's attempts:", [attempts if owner is not None else f">{ATTEMPTS}" for owner, attempts in tries])
    return 0


if __name__ == "__main__":
    sys.exit(main())
