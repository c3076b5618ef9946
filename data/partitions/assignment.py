"""From wanted class shares to samples: every partition that says only what its clients want is dealt out here."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import numpy as np

from fedprompt.data.dataset import Array
from fedprompt.data.errors import DataError

# Below this the normal floats end, and a quotient of two masses has lost its digits.
NO_MASS = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
# Shares are sums of a few hundred roundings; what is nearer than this to a whole number of samples is one.
# It also makes the counts independent of the last bits, which differ between processors.
WHOLE = 1e-9
# Of the classes in a table, how many may have run out before the table is copied without them.
RUN_OUT = 0.1

Part = Literal["train", "test"]


class Labelled(Protocol):
    """Anything with training and test labels int64: a DataSet, or the `Labels` of a part of one."""

    @property
    def train_y(self) -> Array: ...

    @property
    def test_y(self) -> Array: ...


class Labels(NamedTuple):
    """The labels of a part of a data set, such as one domain."""

    train_y: Array
    test_y: Array


@dataclass(frozen=True, eq=False)
class Assignment:
    """Who holds which samples: for each client the positions of its training and test samples, ascending.

    `wanted` [K, C] are the class shares the clients asked for, None where nobody asked; `domains` names each client's
    domain where it has one. `test_part` says which images the test positions count: the "test" ones, or "train" where
    clients are tested on training images set aside. `dropped` clients of the data set were too small to take part.
    """

    train: Sequence[Array]
    test: Sequence[Array]
    wanted: Array | None
    domains: Sequence[str | None]
    test_part: Part = "test"
    dropped: int = 0


def assign(labels: Labelled, wanted: Array, rng: np.random.Generator, weights: Array | None = None) -> Assignment:
    """Deals samples to K clients, as near to the class shares `wanted` [K, C] as the stock allows.

    Of N training and M test samples each client gets N // K and M // K, and fewer than K are left over; with `weights`
    [K] all are dealt, in numbers proportional to these but at least one each. Where M < K, M clients drawn at random
    get one test sample and the others none. One feasible share matrix serves both parts, so a client is tested on the
    class shares it was trained on. Raises DataError where N < K.
    """
    check_enough(len(labels.train_y), len(wanted))
    sizes = _sizes(len(labels.train_y), len(wanted), weights, rng)
    train, shares = _hand_out(labels.train_y, wanted, sizes, rng)
    return Assignment(train, hand_out_tests(labels.test_y, shares, rng, weights), wanted, [None] * len(wanted))


def check_enough(samples: int, clients: int) -> None:
    """Raises DataError where there are fewer training samples than clients."""
    if samples < clients:
        raise DataError(f"{clients} clients but only {samples} training samples: at most {samples} clients")


def hand_out_tests(test_y: Array, shares: Array, rng: np.random.Generator, weights: Array | None = None) -> list[Array]:
    """Test positions for each client, as near to the class `shares` [K, C] that it trains on as the stock allows."""
    dealt = [np.empty(0, np.int64)] * len(shares)
    if len(test_y) >= len(shares):
        tested, sizes = np.arange(len(shares)), _sizes(len(test_y), len(shares), weights, rng)
    else:
        tested = np.sort(rng.choice(len(shares), len(test_y), replace=False))
        sizes = np.ones(len(tested), np.int64)
    if len(tested):
        # The test split has its own rounding of the class sizes, so the shares are fitted once more.
        for client, positions in zip(tested, _hand_out(test_y, shares[tested], sizes, rng)[0], strict=True):
            dealt[client] = positions
    return dealt


def _sizes(samples: int, clients: int, weights: Array | None, rng: np.random.Generator) -> Array:
    if weights is None:
        return np.full(clients, samples // clients)
    return apportion(weights, samples, rng, np.ones(clients, np.int64))


def _hand_out(y: Array, wanted: Array, sizes: Array, rng: np.random.Generator) -> tuple[list[Array], Array]:
    stock = np.bincount(y, minlength=wanted.shape[1])
    shares = feasible_shares(wanted, stock, sizes)
    return deal(y, whole_counts(shares, sizes, stock, rng), rng), shares


def apportion(weights: Array, total: int, rng: np.random.Generator, least: Array) -> Array:
    """Whole numbers int64 [K] in proportion to `weights` that sum to `total`, by the largest remainders.

    Ties fall at random. A number under its `least` [K] is raised to that at the cost of those furthest above theirs.
    Needs total >= sum(least).
    """
    quota = total * (weights / weights.sum())
    counts = np.floor(quota + WHOLE).astype(np.int64)
    order = np.lexsort((rng.random(len(weights)), -np.round(quota - counts, 9)))
    counts[order[: total - counts.sum()]] += 1
    raised = np.maximum(counts, least)
    if debt := int(raised.sum()) - total:
        spare = [(int(excess), k) for k, excess in enumerate(least - raised)]
        heapq.heapify(spare)
        for _ in range(debt):
            excess, k = spare[0]
            heapq.heapreplace(spare, (excess + 1, k))
            raised[k] -= 1
    return raised


def feasible_shares(wanted: Array, stock: Array, sizes: Array) -> Array:
    """Shares [K, C] with row sums 1 of which clients of `sizes` [K] samples find enough in `stock` [C].

    Simultaneous eating (Bogomolnaia and Moulin, 2001): all clients draw at rates that fill them at one time, in the
    proportions they want. When a class runs out, each spreads its rate over the classes left; one that wants none of
    these draws in proportion to what is left. A class runs out at every step, so there are at most C of them. Needs
    sum(stock) >= sum(sizes).
    """
    kept = np.flatnonzero(stock > 0)  # the classes in the tables below; those that ran out leave them in batches
    left, live, time = stock[kept].astype(np.float64), np.ones(len(kept), dtype=bool), 0.0
    shares, wishes = np.zeros(wanted.shape), wanted.take(kept, axis=1)
    mass, summed = np.zeros(len(sizes)), np.full(len(sizes), np.inf)  # of each client's wishes: now, when last summed
    drawn, idle = np.zeros(len(sizes)), np.zeros(len(sizes), dtype=bool)  # share a unit of wish; who has no wish left
    spread = np.zeros(len(stock))  # what an idle client has drawn of each class since the beginning
    while time < 1 and live.any():
        if live.mean() <= 1 - RUN_OUT:
            kept, left, wishes, live = kept[live], left[live], wishes.compress(live, axis=1), live[live]
        worn = mass < summed / 2  # further subtraction would lose digits
        mass[worn] = summed[worn] = wishes[worn].sum(axis=1)
        shares[(mass <= NO_MASS) & ~idle] -= spread
        idle = mass <= NO_MASS
        pace, rest = np.where(idle, 0.0, 1 / np.maximum(mass, NO_MASS)), left / left.sum()
        # Not by BLAS, whose last bits depend on its threads.
        flow = np.einsum("kc,k->c", wishes, sizes * pace) + sizes[idle].sum() * rest
        lasts = np.divide(left, flow, out=np.full(len(flow), np.inf), where=live & (flow > NO_MASS))
        step = min(1 - time, lasts.min())
        drawn += step * pace
        spread[kept] += step * rest
        left -= step * flow
        time = 1.0 if step == 1 - time else time + step
        gone = np.flatnonzero(lasts <= step * (1 + WHOLE))
        shares[:, kept[gone]] += wishes[:, gone] * drawn[:, None]
        mass -= wishes[:, gone].sum(axis=1)
        wishes[:, gone], left[gone], live[gone] = 0.0, 0.0, False
    shares[:, kept] += wishes * drawn[:, None]
    shares[idle] += spread
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def whole_counts(shares: Array, sizes: Array, stock: Array, rng: np.random.Generator) -> Array:
    """Whole counts int64 [K, C]: `sizes` [K] times `shares` rounded down or up, within `stock`, row sums `sizes`.

    Systematic rounding of each row gives every count its share as expectation; then the few classes that came out
    overdrawn are mended by the shortest exchanges.
    """
    expected = sizes[:, None] * shares
    counts = np.floor(expected + WHOLE).astype(np.int64)
    fraction = np.maximum(expected - counts, 0.0)
    fraction[fraction < WHOLE] = 0.0
    units = (sizes - counts.sum(axis=1))[:, None]
    ladder = fraction.cumsum(axis=1)
    ladder *= units / np.maximum(ladder[:, -1:], WHOLE)
    ladder[:, -1] = units[:, 0]
    ladder += rng.random((len(shares), 1))
    raised = np.diff(np.floor(ladder, out=ladder), axis=1, prepend=0) > 0
    _mend(raised, fraction > 0, stock - counts.sum(axis=0), rng)
    return np.asarray(counts + raised)


def _mend(raised: Array, fractional: Array, left: Array, rng: np.random.Generator) -> None:
    """Moves units in `raised` [K, C] between fractional classes of one client until no class exceeds `left` [C].

    The fractions themselves are a flow that keeps to `left`, so a whole one exists and a route to it is always found.
    """
    free = fractional & ~raised
    surplus = raised.sum(axis=0) - left
    links = raised.T.astype(np.float32) @ free.astype(np.float32)  # clients that can give up class i for class j
    while (surplus > 0).any():
        route = _route(links, surplus)
        for source, target in pairwise(route):
            client = rng.choice(np.flatnonzero(raised[:, source] & free[:, target]))
            links[raised[client]] -= free[client]
            raised[client, [source, target]] = False, True
            free[client, [source, target]] = True, False
            links[raised[client]] += free[client]
        surplus[route[0]] -= 1
        surplus[route[-1]] += 1


def _route(links: Array, surplus: Array) -> list[int]:
    """The shortest chain of classes from an overdrawn one to one with stock left, breadth first.

    A class leads to those to which it has `links` [C, C] above 0.
    """
    came_from = np.full(len(surplus), -1)
    seen = surplus > 0
    front = np.flatnonzero(seen)
    while front.size and not (surplus[front] < 0).any():
        leads = links[front] > 0
        new = leads.any(axis=0) & ~seen
        came_from[new] = front[leads[:, new].argmax(axis=0)]
        seen |= new
        front = np.flatnonzero(new)
    route = [int(front[surplus[front].argmin()])]
    while came_from[route[0]] >= 0:
        route.insert(0, int(came_from[route[0]]))
    return route


def deal(labels: Array, counts: Array, rng: np.random.Generator) -> list[Array]:
    """Positions int64 for each client, ascending: `counts` [K, C] of each class, drawn without replacement."""
    owners, positions = [], []
    for label in range(counts.shape[1]):
        owner = np.repeat(np.arange(len(counts)), counts[:, label])
        owners.append(owner)
        positions.append(rng.permutation(np.flatnonzero(labels == label))[: len(owner)])
    owner, position = np.concatenate(owners), np.concatenate(positions)
    order = np.lexsort((position, owner))
    return np.split(position[order], counts.sum(axis=1).cumsum()[:-1])
