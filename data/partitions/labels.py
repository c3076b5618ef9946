"""Partitions with label skew: clients differ in the classes they hold."""

import heapq

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError
from fedprompt.data.partitions.assignment import NO_MASS, Assignment, Labelled, apportion, assign, check_enough, deal
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
) -> Assignment:
    """Every client draws one prior over the classes from Dir(alpha 1_C), for training and test samples alike.

    After Hsu, Qi and Brown (2019), with equal weights for all classes. Sizes are equal, or proportional to draws of a
    log-normal with deviation `size_sigma` of the logarithm, at least one sample each.
    """
    wanted = dirichlet_priors(alpha, clients, len(dataset.classes), rng)
    weights = rng.lognormal(0.0, size_sigma, clients) if sizes == "lognormal" and size_sigma else None
    return assign(dataset, wanted, rng, weights)


@partition("dirichlet-class")
def dirichlet_class(dataset: DataSet, rng: np.random.Generator, *, alpha: float = 0.5, clients: int = 20) -> Assignment:
    """Every class draws its own split over the clients from Dir(alpha 1_K), so that sizes come out unequal.

    The per-class variant (Yurochkin et al., 2019; Li et al., 2022) that many peers cite as Hsu et al. (2019). A client
    left empty takes one sample, of its largest class, from the client that is largest by then.
    """
    check_enough(len(dataset.train_y), clients)
    shares = dirichlet_priors(alpha, len(dataset.classes), clients, rng).T
    return split_classes(dataset, shares, np.zeros(shares.shape, np.int64), rng)


@partition("pathological")
def pathological(
    dataset: DataSet, rng: np.random.Generator, *, classes_per_client: int = 2, clients: int = 20
) -> Assignment:
    """Every client owns exactly `classes_per_client` classes; owners share a class by draws of U(0.4, 0.6).

    The "noniid-labeluni" split of SGPT's code: all classes have equally many owners, give or take one, and the owners'
    draws are normalised.
    """
    stock = np.bincount(dataset.train_y, minlength=len(dataset.classes))
    owned = _owners(dataset, classes_per_client, clients, stock, rng)
    short = np.flatnonzero(owned.sum(axis=0) > stock)
    if short.size:
        c = short[0]
        raise DataError(
            f"class {dataset.classes[c]!r} has {stock[c]} training samples for {owned[:, c].sum()} clients: "
            "lower --clients or --classes-per-client"
        )
    draws = np.where(owned, rng.uniform(0.4, 0.6, owned.shape), 0.0)
    return split_classes(dataset, draws / np.maximum(draws.sum(axis=0), NO_MASS), owned.astype(np.int64), rng)


def _owners(dataset: DataSet, count: int, clients: int, stock: Array, rng: np.random.Generator) -> Array:
    """Which of the classes in stock each client owns, bool [K, C]: always those with the fewest owners so far."""
    held = np.flatnonzero(stock)
    if count > len(held):
        most = f"{dataset.name} has training samples of {len(held)} classes"
        raise DataError(f"--classes-per-client {count} is too many: {most}")
    owned = np.zeros((clients, len(stock)), dtype=bool)
    owners = np.zeros(len(held))
    for client in range(clients):
        chosen = np.argsort(owners + rng.random(len(held)))[:count]  # the random fraction breaks ties
        owners[chosen] += 1
        owned[client, held[chosen]] = True
    return owned


def split_classes(labels: Labelled, shares: Array, least: Array, rng: np.random.Generator) -> Assignment:
    """Deals out each class by its column of `shares` [K, C], with at least `least` [K, C] samples to each client.

    The test samples of a class are split like its training samples, so no client is tested on what it never saw. No
    client is left without a training sample.
    """
    stock, test_stock = (np.bincount(y, minlength=shares.shape[1]) for y in (labels.train_y, labels.test_y))
    expected = shares * stock
    counts, test_counts = np.zeros(shares.shape, np.int64), np.zeros(shares.shape, np.int64)
    for c in np.flatnonzero(expected.any(axis=0)):
        counts[:, c] = apportion(shares[:, c], stock[c], rng, least[:, c])
    _fill_empty(counts)
    for c in np.flatnonzero(counts.any(axis=0)):
        test_counts[:, c] = apportion(counts[:, c], test_stock[c], rng, np.zeros(len(shares), np.int64))
    # A client that was to hold less than a float can say has no wish left but what it got.
    wanted = np.where(expected.sum(axis=1, keepdims=True) > NO_MASS, expected, counts)
    wanted = wanted / wanted.sum(axis=1, keepdims=True)
    train, test = deal(labels.train_y, counts, rng), deal(labels.test_y, test_counts, rng)
    return Assignment(train, test, wanted, [None] * len(shares))


def _fill_empty(counts: Array) -> None:
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
    """Priors [clients, classes], each row from Dir(alpha 1).

    Drawn in logarithms, Gamma(a) = Gamma(a + 1) U^(1/a) (Marsaglia and Tsang, 2000): at alpha 0.01 a plain draw rounds
    the lesser classes to 0, and a client whose favourite has run out would no longer know its next one.
    """
    shape = (clients, classes)
    log_gamma = np.log(rng.standard_gamma(alpha + 1, shape)) + np.log1p(-rng.random(shape)) / alpha
    weights = np.exp(log_gamma - log_gamma.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
