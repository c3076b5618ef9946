"""States of several clients as one with a leading client axis, and what of a state travels."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from fedprompt.benchmark.simulation.batch import Clients
from fedprompt.methods.base import State


def stack(states: Sequence[State], clients: Clients, class_rows: Collection[str] = ()) -> State:
    """K states as one, [K, ...] each; a tensor that all of them share is not copied.

    Of the tensors named in `class_rows`, [C, ...], only the rows of each client's own classes are taken, [K, M, ...].
    """
    return {name: _stacked([state[name] for state in states], clients, name in class_rows) for name in states[0]}


def _stacked(values: list[Tensor], clients: Clients, by_class: bool) -> Tensor:
    first, shared = values[0], all(value is values[0] for value in values)
    if by_class:
        return (
            first[clients.classes]
            if shared
            else torch.stack([v[c] for v, c in zip(values, clients.classes, strict=True)])
        )
    return first.unsqueeze(0).expand(len(values), *first.shape) if shared else torch.stack(values)


def unstack(state: State, clients: Clients, k: int, class_rows: Collection[str] = ()) -> State:
    """Client `k` of a stacked state; of the tensors in `class_rows` the rows of its own classes."""
    own = int(clients.owned[k].sum())
    return {name: value[k, :own] if name in class_rows else value[k] for name, value in state.items()}


def whole(rows: State, received: State, classes: Tensor, class_rows: Collection[str]) -> State:
    """A client's tensors with the rows of all classes: of those that are not among its `classes`, the received ones."""
    full = dict(rows)
    for name in rows.keys() & set(class_rows):
        full[name] = received[name].index_copy(0, classes, rows[name])
    return full


def among_all(rows: Tensor, classes: Tensor, count: int) -> Tensor:
    """Rows [M, ...] of some `classes` among those of all [count, ...], zeros elsewhere."""
    return rows.new_zeros((count, *rows.shape[1:])).index_copy(0, classes, rows)


def size(state: State, class_rows: Collection[str] = (), classes: int | None = None) -> int:
    """Bytes of a state's tensors; with `classes`, of those in `class_rows` only the rows of that many classes."""

    def held(name: str, value: Tensor) -> int:
        return value.nbytes if classes is None or name not in class_rows else value.nbytes // len(value) * classes

    return sum(held(name, value) for name, value in state.items())
