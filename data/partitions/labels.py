"""Partitions with label skew: clients differ in their classes."""

import heapq

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.partitions.assignment import NO_MASS, Assignment, Labelled, apportion, assign, check_enough, draw
from fedprompt.data.partitions.registry import partition


@partition("dirichlet")
def dirichlet(
    dataset: DataSet,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    clients: int = 20,
    sizes: str = "equal",
    size_sigma: float | None = None,
    samples_per_client: int | None = None,
) -> Assignment:
    """Every client draws its class shares from Dir(alpha 1_C), for training and test samples alike.

    Source: Hsu, Qi and Brown (2019), with equal weights for all classes. Sizes are equal, or proportional to log-normal
    draws whose logarithm has the standard deviation `size_sigma`, at least one sample each. With `samples_per_client`,
    clients get so many training samples and proportionally many test samples; the other samples stay unused.
    """
    shares = dirichlet_priors(alpha, clients, len(dataset.classes), rng)
    weights = rng.lognormal(0.0, size_sigma, clients) if sizes == "lognormal" and size_sigma else None
    return assign(dataset, shares, rng, weights, samples_per_client)


@partition("dirichlet-class")
def dirichlet_class(dataset: DataSet, rng: np.random.Generator, *, alpha: float = 0.5, clients: int = 20) -> Assignment:
    """Every class draws its shares over the clients from Dir(alpha 1_K); client sizes differ as a result.

    Source: Yurochkin et al. (2019) and Li et al. (2022); many frameworks cite it as Hsu et al. (2019). An empty client
    gets one sample of the largest class of the largest client.
    """
    check_enough(len(dataset.train_y), clients)
    shares = dirichlet_priors(alpha, len(dataset.classes), clients, rng).T
    return split_classes(dataset, shares, np.zeros(shares.shape, np.int64), rng)


@partition("pathological")
def pathological(
    dataset: DataSet, rng: np.random.Generator, *, classes_per_client: int = 2, clients: int = 20
) -> Assignment:
    """Every client has exactly `classes_per_client` classes, with shares drawn from U(0.4, 0.6) and normalised.

    Source: the "noniid-labeluni" split of SGPT's code. The numbers of clients per class differ by at most one.
    """
    stock = np.bincount(dataset.train_y, minlength=len(dataset.classes))
    has_class = _choose_classes(dataset, classes_per_client, clients, stock, rng)
    short = np.flatnonzero(has_class.sum(axis=0) > stock)
    if short.size:
        c = short[0]
        raise DataError(
            f"class {dataset.classes[c]!r} has {stock[c]} training samples for {has_class[:, c].sum()} clients: "
            "lower --clients or --classes-per-client"
        )
    draws = np.where(has_class, rng.uniform(0.4, 0.6, has_class.shape), 0.0)
    return split_classes(dataset, draws / np.maximum(draws.sum(axis=0), NO_MASS), has_class.astype(np.int64), rng)


def _choose_classes(dataset: DataSet, count: int, clients: int, stock: Array, rng: np.random.Generator) -> Array:
    """Returns which clients have which classes, bool [K, C]: each client takes those with the fewest clients so far."""
    available = np.flatnonzero(stock)
    if count > len(available):
        limit = f"{dataset.name} has training samples of {len(available)} classes"
        raise DataError(f"--classes-per-client {count} is too large: {limit}")
    has_class = np.zeros((clients, len(stock)), dtype=bool)
    clients_with = np.zeros(len(available))
    for client in range(clients):
        chosen = np.argsort(clients_with + rng.random(len(available)))[:count]  # the random fraction breaks ties
        clients_with[chosen] += 1
        has_class[client, available[chosen]] = True
    return has_class


def split_classes(labels: Labelled, shares: Array, least: Array, rng: np.random.Generator) -> Assignment:
    """Divides the samples of each class among clients.

    The test samples of a class are divided like its training samples, so clients are tested on classes that they train
    on. Every client gets a training sample.

    Args:
        labels: The training and test labels.
        shares: Share of each class per client [K, C]; a column of zeros leaves a class out.
        least: Minimum number of training samples per client and class, int64 [K, C].
        rng: Breaks ties and draws the samples.
    """
    stock, test_stock = (np.bincount(y, minlength=shares.shape[1]) for y in (labels.train_y, labels.test_y))
    expected = shares * stock
    counts, test_counts = np.zeros(shares.shape, np.int64), np.zeros(shares.shape, np.int64)
    for c in np.flatnonzero(expected.any(axis=0)):
        counts[:, c] = apportion(shares[:, c], stock[c], rng, least[:, c])
    _fill_empty(counts)
    for c in np.flatnonzero(counts.any(axis=0)):
        test_counts[:, c] = apportion(counts[:, c], test_stock[c], rng, np.zeros(len(shares), np.int64))
    # If a client's expected counts are below float precision, its actual counts are the target.
    target = np.where(expected.sum(axis=1, keepdims=True) > NO_MASS, expected, counts)
    target = target / target.sum(axis=1, keepdims=True)
    train, test = draw(labels.train_y, counts, rng), draw(labels.test_y, test_counts, rng)
    return Assignment(train, test, target, [None] * len(shares))


def _fill_empty(counts: Array) -> None:
    """Moves one sample from the largest client to each empty one, in `counts` [K, C]."""
    sizes = counts.sum(axis=1)
    largest = [(-int(size), k) for k, size in enumerate(sizes)]
    heapq.heapify(largest)
    for client in np.flatnonzero(sizes == 0):
        size, donor = largest[0]
        label = counts[donor].argmax()
        counts[donor, label] -= 1
        counts[client, label] += 1
        heapq.heapreplace(largest, (size + 1, donor))


def dirichlet_priors(alpha: float, clients: int, classes: int, rng: np.random.Generator) -> Array:
    """Draws class shares [clients, classes]; each row is from Dir(alpha 1).

    Draws logarithms, Gamma(a) = Gamma(a + 1) U^(1/a) (Marsaglia and Tsang, 2000). At alpha 0.01 a plain draw rounds the
    smaller shares to 0; the order in which a client prefers the remaining classes would be lost.
    """
    shape = (clients, classes)
    log_gamma = np.log(rng.standard_gamma(alpha + 1, shape)) + np.log1p(-rng.random(shape)) / alpha
    weights = np.exp(log_gamma - log_gamma.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
