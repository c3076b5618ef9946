"""What clients look up in their own data before they predict: samples that they remember, what validation tells them.

Made for a few clients at a time, as they are scored, so that the samples of ten thousand are never held at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch, Clients, passes
from fedprompt.benchmark.simulation.local_training import rows_a_pass
from fedprompt.benchmark.simulation.scoring import Subject
from fedprompt.benchmark.simulation.stacking import stack
from fedprompt.methods.base import Method, State

if TYPE_CHECKING:
    from fedprompt.benchmark.simulation.simulator import Simulator

AT_A_TIME = 64  # clients whose samples are held together
NOTHING = np.empty(0, np.int64)


def remembers(method: Method) -> bool:
    """Whether clients of this method look up samples of their own."""
    return type(method).datastore is not Method.datastore


def recalled(run: Simulator, subjects: Sequence[Subject], newcomers: bool) -> list[Subject]:
    """The subjects with what they remember of their training samples, and what came of their validation samples.

    Held-out clients take part only as `newcomers`, and no client whose labels are unknown does.
    """
    clients = [run.federation.clients[subject.client] for subject in subjects]
    able = [
        bool(s.counts.any()) and (newcomers or not client.held_out) for s, client in zip(subjects, clients, strict=True)
    ]
    if not any(able):
        return list(subjects)
    train = [
        _some(run, s.client, c.train) if use else NOTHING for s, c, use in zip(subjects, clients, able, strict=True)
    ]
    subjects = _remembering(run, subjects, train)
    validation = [client.validation if use else NOTHING for client, use in zip(clients, able, strict=True)]
    return _rehearsed(run, subjects, validation) if any(map(len, validation)) else subjects


def _some(run: Simulator, client: int, rows: np.ndarray) -> np.ndarray:
    """As many of a client's rows as it has room for: the same ones whenever it is asked."""
    capacity = run.method.datastore_size
    if capacity is None or capacity >= len(rows):
        return rows
    return np.sort(run.streams.numpy("memory", client).choice(rows, capacity, replace=False))


def _remembering(run: Simulator, subjects: Sequence[Subject], rows: list[np.ndarray]) -> list[Subject]:
    kept: list[dict[str, list[Tensor]]] = [{} for _ in subjects]
    for i, values in _of_clients(run, run.method.datastore, subjects, rows):
        for name, value in values.items():
            kept[i].setdefault(name, []).append(value)
    remembered = torch.arange(max(map(len, rows))) < torch.tensor([[len(own)] for own in rows])
    state = {"remembered": remembered.to(run.vit.device)}
    for name in next((own for own in kept if own), {}):
        some = next(own[name][0] for own in kept if own)
        state[name] = pad_sequence([torch.cat(own[name]) if own else some[:0] for own in kept], batch_first=True)
    return _with(subjects, state)


def _rehearsed(run: Simulator, subjects: Sequence[Subject], rows: list[np.ndarray]) -> list[Subject]:
    sums: State = {}
    for i, values in _of_clients(run, run.method.validation_statistics, subjects, rows, summed=True):
        for name, value in values.items():
            if name not in sums:
                sums[name] = value.new_zeros(len(subjects), *value.shape)
            sums[name][i] += value
    return _with(subjects, sums)


def _with(subjects: Sequence[Subject], state: State) -> list[Subject]:
    """The subjects with their own row of each tensor [K, ...] in their state."""
    return [
        replace(subject, state={**subject.state, **{name: value[i] for name, value in state.items()}})
        for i, subject in enumerate(subjects)
    ]


@torch.no_grad()
def _of_clients(
    run: Simulator,
    call: Callable[[FrozenViT, Batch, State], State],
    subjects: Sequence[Subject],
    rows: list[np.ndarray],
    summed: bool = False,
) -> Iterator[tuple[int, State]]:
    """What `call` gives of each client's rows of the training data, pass by pass: a row each or, `summed`, one sum."""
    for members, own in passes(rows, rows_a_pass(run.vit)):
        clients = Clients.of(np.stack([subjects[i].counts for i in members]), run.vit.device)
        batch = Batch(run.train, own, clients)
        found = call(run.vit, batch, stack([subjects[i].state for i in members], clients, run.method.class_rows))
        for k, i in enumerate(members):
            if summed:
                yield i, {name: value[k] for name, value in found.items()}
            else:
                yield (
                    i,
                    {
                        name: value.view(len(members), -1, *value.shape[1:])[k, : len(own[k])]
                        for name, value in found.items()
                    },
                )
