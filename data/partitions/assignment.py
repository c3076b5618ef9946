"""Assigning samples to clients, given the class shares that each client should have."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import numpy as np

from fedprompt.data.dataset import Array
from fedprompt.data.errors import DataError

# Smaller sums count as 0: they are subnormal or close to it, and quotients of them have lost their digits.
NO_MASS = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
# Tolerance for integers, since shares carry a few hundred rounding errors. It also makes the counts independent of the
# last bits, which differ between processors.
INTEGER_TOLERANCE = 1e-9
# The tables of classes are compacted once this share of their classes is used up.
COMPACT_AT = 0.1

Part = Literal["train", "test"]


class Labelled(Protocol):
    """Anything with training and test labels int64: a DataSet, or the `Labels` of a part of one."""

    @property
    def train_y(self) -> Array:
        """Labels of the training samples."""

    @property
    def test_y(self) -> Array:
        """Labels of the test samples."""


class Labels(NamedTuple):
    """The labels of a part of a data set, such as one domain."""

    train_y: Array
    test_y: Array


@dataclass(frozen=True, eq=False)
class Assignment:
    """The samples of K clients."""

    train: Sequence[Array]  # positions of training samples per client, ascending
    test: Sequence[Array]  # positions of test samples per client, ascending
    target_shares: Array | None  # requested class shares [K, C]
    domains: Sequence[str | None]  # domain of each client
    test_part: Part = "test"  # what `test` refers to: "train" if training images are set aside for testing
    dropped: int = 0  # number of clients of the data set that were too small


def assign(
    labels: Labelled,
    target_shares: Array,
    rng: np.random.Generator,
    weights: Array | None = None,
    samples: int | None = None,
) -> Assignment:
    """Assigns samples such that the class shares are as close to their targets as the data permit.

    The same feasible shares are used for training and test samples, so clients are tested on the class shares that they
    train on. With fewer test samples than clients, random clients get one test sample each.

    Args:
        labels: The training and test labels.
        target_shares: Class shares [K, C]; rows sum to 1.
        rng: Source of all random choices.
        weights: Client sizes [K] up to a factor; all samples are then used, at least one per client. By default each
            client gets N // K of N samples.
        samples: Training samples per client, at most N // K; test samples are reduced in proportion, to at least one
            per client. Excludes `weights`.

    Raises:
        DataError: There are fewer training samples than clients, or than `samples` per client.
    """
    check_enough(len(labels.train_y), len(target_shares))
    sizes = _sizes(len(labels.train_y), len(target_shares), weights, rng)
    tests = None
    if samples is not None:
        if samples > sizes[0]:
            few = f"{len(labels.train_y)} training samples give {len(sizes)} clients at most {sizes[0]} each"
            raise DataError(f"--samples-per-client {samples} is too large: {few}; lower it or --clients")
        sizes[:] = samples
        tests = max(1, samples * len(labels.test_y) // len(labels.train_y))
    train, shares = _assign_part(labels.train_y, target_shares, sizes, rng)
    test = assign_test(labels.test_y, shares, rng, weights, tests)
    return Assignment(train, test, target_shares, [None] * len(target_shares))


def check_enough(samples: int, clients: int) -> None:
    """Raises DataError if there are fewer training samples than clients."""
    if samples < clients:
        raise DataError(f"{clients} clients but only {samples} training samples: at most {samples} clients")


def assign_test(
    test_y: Array, shares: Array, rng: np.random.Generator, weights: Array | None = None, tests: int | None = None
) -> list[Array]:
    """Returns each client's test positions, with class shares as close to `shares` [K, C] as the data permit.

    `tests` is the number of test samples per client, if there are as many. By default all are assigned.
    """
    positions = [np.empty(0, np.int64)] * len(shares)
    if len(test_y) >= len(shares):
        tested, sizes = np.arange(len(shares)), _sizes(len(test_y), len(shares), weights, rng)
        sizes = sizes if tests is None else np.minimum(sizes, tests)
    else:
        tested = np.sort(rng.choice(len(shares), len(test_y), replace=False))
        sizes = np.ones(len(tested), np.int64)
    if len(tested):
        # The class sizes of the test split are rounded differently, so the shares are fitted again.
        for client, rows in zip(tested, _assign_part(test_y, shares[tested], sizes, rng)[0], strict=True):
            positions[client] = rows
    return positions


def _sizes(samples: int, clients: int, weights: Array | None, rng: np.random.Generator) -> Array:
    if weights is None:
        return np.full(clients, samples // clients)
    return apportion(weights, samples, rng, np.ones(clients, np.int64))


def _assign_part(y: Array, target_shares: Array, sizes: Array, rng: np.random.Generator) -> tuple[list[Array], Array]:
    """Returns the positions per client and the feasible shares."""
    stock = np.bincount(y, minlength=target_shares.shape[1])
    shares = feasible_shares(target_shares, stock, sizes)
    return draw(y, integer_counts(shares, sizes, stock, rng), rng), shares


def apportion(weights: Array, total: int, rng: np.random.Generator, least: Array) -> Array:
    """Divides `total` into integers [K] in proportion to `weights`, by the method of largest remainders.

    Ties are broken at random. Numbers below their minimum `least` [K] are raised to it, at the expense of those that
    exceed theirs most. Requires total >= sum(least).
    """
    quota = total * (weights / weights.sum())
    counts = np.floor(quota + INTEGER_TOLERANCE).astype(np.int64)
    order = np.lexsort((rng.random(len(weights)), -np.round(quota - counts, 9)))
    counts[order[: total - counts.sum()]] += 1
    raised = np.maximum(counts, least)
    if surplus := int(raised.sum()) - total:
        excess = [(int(negative), k) for k, negative in enumerate(least - raised)]
        heapq.heapify(excess)
        for _ in range(surplus):
            negative, k = excess[0]
            heapq.heapreplace(excess, (negative + 1, k))
            raised[k] -= 1
    return raised


def feasible_shares(target_shares: Array, stock: Array, sizes: Array) -> Array:
    """Returns the class shares [K, C] closest to the targets that the stock permits; rows sum to 1.

    Simultaneous eating (Bogomolnaia and Moulin, 2001): from time 0 to 1 all clients draw samples, each at a rate that
    completes its size at time 1, in the proportions of its target. When a class is used up, a client divides its rate
    among its remaining classes; a client whose target has none draws in proportion to the stock. Each step uses up at
    least one class, so there are at most C steps.

    Args:
        target_shares: Class shares [K, C].
        stock: Available samples per class [C]. Requires sum(stock) >= sum(sizes).
        sizes: Samples per client [K].
    """
    classes = np.flatnonzero(stock > 0)  # the columns of the tables below; used-up classes are removed in batches
    left, has_stock, time = stock[classes].astype(np.float64), np.ones(len(classes), dtype=bool), 0.0
    shares, weights = np.zeros(target_shares.shape), target_shares.take(classes, axis=1)
    mass, exact_mass = np.zeros(len(sizes)), np.full(len(sizes), np.inf)  # row sums of weights: current, last exact
    drawn = np.zeros(len(sizes))  # share per unit of weight
    untargeted = np.zeros(len(sizes), dtype=bool)  # clients without a class left in their target
    pool_drawn = np.zeros(len(stock))  # what an untargeted client would have drawn per class since time 0
    while time < 1 and has_stock.any():
        if has_stock.mean() <= 1 - COMPACT_AT:
            classes, left, weights = classes[has_stock], left[has_stock], weights.compress(has_stock, axis=1)
            has_stock = has_stock[has_stock]
        inexact = mass < exact_mass / 2  # further subtraction would lose digits
        mass[inexact] = exact_mass[inexact] = weights[inexact].sum(axis=1)
        shares[(mass <= NO_MASS) & ~untargeted] -= pool_drawn
        untargeted = mass <= NO_MASS
        rate, pool = np.where(untargeted, 0.0, 1 / np.maximum(mass, NO_MASS)), left / left.sum()
        # Not by BLAS, whose last bits depend on the number of threads.
        demand = np.einsum("kc,k->c", weights, sizes * rate) + sizes[untargeted].sum() * pool
        used_up_in = np.divide(left, demand, out=np.full(len(demand), np.inf), where=has_stock & (demand > NO_MASS))
        step = min(1 - time, used_up_in.min())
        drawn += step * rate
        pool_drawn[classes] += step * pool
        left -= step * demand
        time = 1.0 if step == 1 - time else time + step
        used_up = np.flatnonzero(used_up_in <= step * (1 + INTEGER_TOLERANCE))
        shares[:, classes[used_up]] += weights[:, used_up] * drawn[:, None]
        mass -= weights[:, used_up].sum(axis=1)
        weights[:, used_up], left[used_up], has_stock[used_up] = 0.0, 0.0, False
    shares[:, classes] += weights * drawn[:, None]
    shares[untargeted] += pool_drawn
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def integer_counts(shares: Array, sizes: Array, stock: Array, rng: np.random.Generator) -> Array:
    """Rounds `sizes` [K] times `shares` [K, C] down or up to int64, within `stock` [C] and with row sums `sizes`.

    Systematic rounding per row makes each expected count equal its share. Classes that then exceed the stock are
    corrected by the shortest exchanges.
    """
    expected = sizes[:, None] * shares
    counts = np.floor(expected + INTEGER_TOLERANCE).astype(np.int64)
    fraction = np.maximum(expected - counts, 0.0)
    fraction[fraction < INTEGER_TOLERANCE] = 0.0
    units = (sizes - counts.sum(axis=1))[:, None]
    cumulative = fraction.cumsum(axis=1)
    cumulative *= units / np.maximum(cumulative[:, -1:], INTEGER_TOLERANCE)
    cumulative[:, -1] = units[:, 0]
    cumulative += rng.random((len(shares), 1))
    rounded_up = np.diff(np.floor(cumulative, out=cumulative), axis=1, prepend=0) > 0
    _correct_excess(rounded_up, fraction > 0, stock - counts.sum(axis=0), rng)
    return np.asarray(counts + rounded_up)


def _correct_excess(rounded_up: Array, fractional: Array, left: Array, rng: np.random.Generator) -> None:
    """Moves units of `rounded_up` [K, C] between fractional classes of a client until no class exceeds `left` [C].

    The fractions are a flow within `left`, so an integer flow exists and an exchange is always found.
    """
    used = np.flatnonzero(rounded_up.any(axis=0) | fractional.any(axis=0))  # a table of all pairs may not fit memory
    kept, fractional, left = rounded_up[:, used], fractional[:, used], left[used]
    _exchange(kept, fractional & ~kept, left, rng)
    rounded_up[:, used] = kept


def _exchange(rounded_up: Array, can_take: Array, left: Array, rng: np.random.Generator) -> None:
    excess = rounded_up.sum(axis=0) - left
    links = rounded_up.T.astype(np.float32) @ can_take.astype(np.float32)  # clients that can exchange class i for j
    while (excess > 0).any():
        path = _exchange_path(links, excess)
        for source, target in pairwise(path):
            client = rng.choice(np.flatnonzero(rounded_up[:, source] & can_take[:, target]))
            links[rounded_up[client]] -= can_take[client]
            rounded_up[client, [source, target]] = False, True
            can_take[client, [source, target]] = True, False
            links[rounded_up[client]] += can_take[client]
        excess[path[0]] -= 1
        excess[path[-1]] += 1


def _exchange_path(links: Array, excess: Array) -> list[int]:
    """Returns the shortest path from a class with excess to one with stock, by breadth-first search over links > 0."""
    previous = np.full(len(excess), -1)
    seen = excess > 0
    front = np.flatnonzero(seen)
    while front.size and not (excess[front] < 0).any():
        is_linked = links[front] > 0
        new = is_linked.any(axis=0) & ~seen
        previous[new] = front[is_linked[:, new].argmax(axis=0)]
        seen |= new
        front = np.flatnonzero(new)
    path = [int(front[excess[front].argmin()])]
    while previous[path[0]] >= 0:
        path.insert(0, int(previous[path[0]]))
    return path


def draw(labels: Array, counts: Array, rng: np.random.Generator) -> list[Array]:
    """Draws samples without replacement, and returns their ascending positions int64 per client.

    Args:
        labels: Labels [N].
        counts: Samples per client and class [K, C].
        rng: Source of the draws.
    """
    all_clients, all_positions = [], []
    for label in range(counts.shape[1]):
        client = np.repeat(np.arange(len(counts)), counts[:, label])
        all_clients.append(client)
        all_positions.append(rng.permutation(np.flatnonzero(labels == label))[: len(client)])
    client, position = np.concatenate(all_clients), np.concatenate(all_positions)
    order = np.lexsort((position, client))
    return np.split(position[order], counts.sum(axis=1).cumsum()[:-1])
