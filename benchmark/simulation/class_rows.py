"""Tensors with one row per class, of which clients keep, train and send only the rows of their own classes."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from fedprompt.benchmark.simulation.batch import Clients
from fedprompt.methods.base import State


class ClassRows:
    """Moves states between the server's layout, [C, ...], and the clients' layout, [M, ...].

    C is the number of all classes, M the number of a client's classes. Tensors that are not in `names` pass unchanged.

    Args:
        names: Tensors with one row per class.
        classes: Number of all classes.
    """

    def __init__(self, names: Collection[str], classes: int) -> None:
        self.names, self.classes = frozenset(names), classes

    def gather(self, states: Sequence[State], clients: Clients) -> State:
        """Stacks the states of K clients to [K, ...], or [K, M, ...] for class rows, M being the largest of the cohort.

        A tensor that all states share is expanded, not copied.
        """
        return {name: self._gathered(name, [state[name] for state in states], clients) for name in states[0]}

    def _gathered(self, name: str, values: list[Tensor], clients: Clients) -> Tensor:
        first, shared = values[0], all(value is values[0] for value in values)
        if name not in self.names:
            return first.unsqueeze(0).expand(len(values), *first.shape) if shared else torch.stack(values)
        if shared:
            return first[clients.classes]
        return torch.stack([value[rows] for value, rows in zip(values, clients.classes, strict=True)])

    def select(self, state: State, clients: Clients, k: int) -> State:
        """Client `k` of a stacked state, without the rows that only pad it to M."""
        count = int(clients.valid[k].sum())
        return {name: value[k, :count] if name in self.names else value[k] for name, value in state.items()}

    def scatter(self, state: State, classes: Tensor, base: State | None = None) -> State:
        """A client's state in the server's layout.

        Args:
            state: The client's tensors; class rows are [M, ...].
            classes: Ids of the client's classes, [M].
            base: Values of the rows of all other classes, [C, ...]; zeros by default.
        """
        full = dict(state)
        for name in state.keys() & self.names:
            rows = state[name]
            target = rows.new_zeros((self.classes, *rows.shape[1:])) if base is None else base[name]
            full[name] = target.index_copy(0, classes, rows)
        return full

    def add(self, total: State, state: State, classes: Tensor) -> None:
        """Adds a client's state to a sum in the server's layout, in place; missing tensors start at zero."""
        for name, value in state.items():
            by_class = name in self.names
            if name not in total:
                total[name] = value.new_zeros((self.classes, *value.shape[1:]) if by_class else value.shape)
            if by_class:
                total[name].index_add_(0, classes, value)
            else:
                total[name] += value

    def nbytes(self, state: State, held: int | None = None) -> int:
        """Bytes of a state; with `held`, in the server's layout, only that many rows of each class-row tensor count."""
        sizes = {name: value.nbytes for name, value in state.items()}
        if held is not None:
            sizes |= {name: sizes[name] // len(state[name]) * held for name in state.keys() & self.names}
        return sum(sizes.values())

    def shapes(self, state: State) -> dict[str, list[int]]:
        """Shapes by name in the server's layout."""
        shapes = {name: list(value.shape) for name, value in state.items()}
        for name in shapes.keys() & self.names:
            shapes[name][0] = self.classes
        return shapes
