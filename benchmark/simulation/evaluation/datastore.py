"""Datastores: what clients look up in their own data before they predict.

They are built for a few clients at a time, as these are scored, so that the samples of thousands are never in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch, Clients, group_rows, rows_per_pass
from fedprompt.benchmark.simulation.context import SimulationContext
from fedprompt.benchmark.simulation.evaluation.scoring import ScoringTask
from fedprompt.methods.base import Method, State

NO_ROWS = np.empty(0, np.int64)


def has_datastore(method: Method) -> bool:
    """Whether clients of this method look up their own samples."""
    return type(method).datastore is not Method.datastore


def with_datastore(context: SimulationContext, tasks: Sequence[ScoringTask], held_out: bool) -> list[ScoringTask]:
    """Adds each client's datastore to the state that it predicts with, and its sums over validation samples.

    Args:
        context: The simulation.
        tasks: The clients to score.
        held_out: Whether held-out clients have datastores, too. Clients with unknown labels never have one.
    """
    clients = [context.federation.clients[task.client] for task in tasks]
    able = [
        bool(task.counts.any()) and (held_out or not client.held_out)
        for task, client in zip(tasks, clients, strict=True)
    ]
    if not any(able):
        return list(tasks)
    members = list(zip(tasks, clients, able, strict=True))
    train = [_sampled(context, task.client, client.train) if use else NO_ROWS for task, client, use in members]
    tasks = _with_entries(context, tasks, train)
    validation = [client.validation if use else NO_ROWS for _, client, use in members]
    return _with_validation(context, tasks, validation) if any(map(len, validation)) else tasks


def _sampled(context: SimulationContext, client: int, rows: np.ndarray) -> np.ndarray:
    """The rows that fit the client's datastore, always the same ones."""
    size = context.method.datastore_size
    if size is None or size >= len(rows):
        return rows
    return np.sort(context.streams.numpy("memory", client).choice(rows, size, replace=False))


def _with_entries(
    context: SimulationContext, tasks: Sequence[ScoringTask], rows: list[np.ndarray]
) -> list[ScoringTask]:
    entries: list[dict[str, list[Tensor]]] = [{} for _ in tasks]
    for i, values, count in _per_client(context, context.method.datastore, tasks, rows):
        for name, value in values.items():
            entries[i].setdefault(name, []).append(value[:count])
    valid = torch.arange(max(map(len, rows))) < torch.tensor([[len(own)] for own in rows])
    stacked = {"remembered": valid.to(context.vit.device)}
    for name in next((own for own in entries if own), {}):
        empty = next(own[name][0] for own in entries if own)[:0]
        stacked[name] = pad_sequence([torch.cat(own[name]) if own else empty for own in entries], batch_first=True)
    return _with_tensors(tasks, stacked)


def _with_validation(
    context: SimulationContext, tasks: Sequence[ScoringTask], rows: list[np.ndarray]
) -> list[ScoringTask]:
    sums: State = {}
    for i, values, _ in _per_client(context, context.method.validation_statistics, tasks, rows, summed=True):
        for name, value in values.items():
            if name not in sums:
                sums[name] = value.new_zeros(len(tasks), *value.shape)
            sums[name][i] += value
    return _with_tensors(tasks, sums)


def _with_tensors(tasks: Sequence[ScoringTask], stacked: State) -> list[ScoringTask]:
    """The tasks with their own row of each tensor [K, ...] in their state."""
    return [
        replace(task, state=replace(task.state, memory={**task.state.memory, **{n: v[i] for n, v in stacked.items()}}))
        for i, task in enumerate(tasks)
    ]


@torch.no_grad()
def _per_client(
    context: SimulationContext,
    function: Callable[[FrozenViT, Batch, State], State],
    tasks: Sequence[ScoringTask],
    rows: list[np.ndarray],
    summed: bool = False,
) -> Iterator[tuple[int, State, int]]:
    """What `function` returns for each client's rows of the training data, pass by pass.

    Yields:
        Position of the task; its values, one row per sample or, if `summed`, one sum; and how many rows are samples.
    """
    for members, own in group_rows(rows, rows_per_pass(context.vit.device.type, context.vit.tokens)):
        clients = Clients.of(np.stack([tasks[i].counts for i in members]), context.vit.device)
        state = context.class_rows.gather([tasks[i].state.tensors for i in members], clients)
        batch = Batch(context.train, own, clients)
        with context.vit.counting(batch):
            values = function(context.vit, batch, state)
        for k, i in enumerate(members):
            if summed:
                yield i, {name: value[k] for name, value in values.items()}, len(own[k])
            else:
                shape = (len(members), -1)
                yield i, {n: v.view(*shape, *v.shape[1:])[k] for n, v in values.items()}, len(own[k])
