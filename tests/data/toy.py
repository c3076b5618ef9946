"""Small data sets whose labels are all that matters, and seeded streams."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fedprompt.data.dataset import DataSet


def toy(train_y: Sequence[int], test_y: Sequence[int], classes: int) -> DataSet:
    """A data set of one-pixel black images with the labels given."""
    train, test = np.asarray(train_y, np.int64), np.asarray(test_y, np.int64)
    names = tuple(f"class {label}" for label in range(classes))
    return DataSet("toy", _black(len(train)), train, _black(len(test)), test, names)


def balanced(train: int, test: int, classes: int) -> DataSet:
    """A data set whose classes take turns: 0, 1, 2, 0, 1, 2, ..."""
    return toy([i % classes for i in range(train)], [i % classes for i in range(test)], classes)


def shifted(of_each: int, tests_of_each: int, classes: int, domains: Sequence[str] = ("art", "photo")) -> DataSet:
    """A balanced data set of several domains, each with so many training and test samples; domains come in turns."""
    train, test = np.arange(of_each * len(domains)), np.arange(tests_of_each * len(domains))
    flat = toy((train // len(domains) % classes).tolist(), (test // len(domains) % classes).tolist(), classes)
    turns = {"train_domains": train % len(domains), "test_domains": test % len(domains)}
    return replace(flat, domains=tuple(domains), identity="", **turns)


def owned(sizes: Sequence[int], test_sizes: Sequence[int] | None = None, classes: int = 3) -> DataSet:
    """A data set whose clients hold so many training samples each, and test samples where these are given."""
    flat = balanced(sum(sizes), sum(test_sizes or [4]), classes)
    rng = np.random.default_rng(0)
    owner, test_owner = (
        None if s is None else rng.permutation(np.repeat(np.arange(len(s)), s)) for s in (sizes, test_sizes)
    )
    names = tuple(f"user {k}" for k in range(len(sizes)))
    return replace(flat, train_clients=owner, test_clients=test_owner, client_names=names, identity="")


def stream(seed: int) -> Callable[[str], np.random.Generator]:
    """A generator for each purpose, as the caller of `build` gives it."""
    return lambda purpose: np.random.default_rng([seed, *purpose.encode()])


def _black(count: int) -> np.ndarray:
    return np.zeros((count, 1, 1, 3), np.uint8)
