"""Runs the optimisers of a recipe: at the clients during local training, and at the server between rounds.

Tensors of all optimisers are kept in one state by `OPTIMISER.TENSOR`. Each is stacked, sent and counted like the shared
tensor of the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedprompt.benchmark.simulation.batch import Clients
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.tasks import ClientTask
from fedprompt.methods.base import State, Uploads
from fedprompt.methods.optimiser import ClientContext, Optimiser
from fedprompt.methods.registry import Recipe


def initial(recipe: Recipe, shared: State) -> State:
    """What a client keeps for the optimisers before its first round."""
    return _joined([_prefixed(optimiser, optimiser.local(shared)) for optimiser in recipe.optimisers])


def sent(recipe: Recipe, memory: Sequence[State]) -> State:
    """What the server sends for the optimisers to each client of a round."""
    pairs = zip(recipe.optimisers, memory, strict=True)
    return _joined([_prefixed(optimiser, optimiser.sent(kept)) for optimiser, kept in pairs])


def server_step(
    recipe: Recipe,
    memory: Sequence[State],
    before: State,
    averaged: State,
    uploads: Uploads,
    reports: State,
    clients: int,
) -> tuple[State, list[State]]:
    """Applies the server step of each optimiser in turn.

    Args:
        recipe: The recipe whose optimisers act.
        memory: Server tensors of each optimiser.
        before: Shared tensors that the round started from.
        averaged: Shared tensors after the method's aggregation.
        uploads: What the cohort sent for the method.
        reports: What the cohort sent for the optimisers, [K, ...].
        clients: Number of clients that training may sample.

    Returns:
        The shared tensors of the next round, and the new server tensors of each optimiser.
    """
    new = []
    for optimiser, kept in zip(recipe.optimisers, memory, strict=True):
        own = replace(uploads, statistics={}, reports=_unprefixed(optimiser, reports))
        kept = optimiser.gather(kept, before, own, clients)
        averaged, kept = optimiser.server_step(before, averaged, kept)
        new.append(kept)
    return averaged, new


def evaluated(recipe: Recipe, shared: State, memory: Sequence[State]) -> State:
    """The shared tensors that clients predict with."""
    for optimiser, kept in reversed(list(zip(recipe.optimisers, memory, strict=True))):
        shared = optimiser.evaluated(shared, kept)
    return shared


def momentum_reach(steps: int, lr: float, momentum: float) -> float:
    """How far SGD moves a parameter in `steps` steps under a constant gradient of one; steps x lr without momentum.

    This is lr |a|_1 of Wang et al. (FedNova, NeurIPS 2020, section 3), the sum of all gradients' weights.
    """
    velocity = moved = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1
        moved += velocity
    return lr * moved


class ClientOptimisers:
    """The optimisers of a recipe at the K clients of a cohort, during their local training.

    Args:
        recipe: The recipe whose optimisers act.
        tasks: The clients' tasks.
        clients: What a batch knows of these clients.
        received: The shared tensors that they start from, [K, ...].
        class_rows: Layout of tensors with one row per class.
    """

    def __init__(
        self, recipe: Recipe, tasks: Sequence[ClientTask], clients: Clients, received: State, class_rows: ClassRows
    ) -> None:
        self.recipe, self.clients, self.class_rows = recipe, clients, class_rows
        sent = class_rows.gather([task.optimiser_received for task in tasks], clients)
        kept = class_rows.gather([task.optimiser_local for task in tasks], clients)
        self.contexts = [ClientContext(received, _unprefixed(o, sent), _unprefixed(o, kept)) for o in recipe.optimisers]
        self.reach: State = {}

    def penalised(self, losses: Tensor, state: State, names: Sequence[str]) -> Tensor:
        """The losses [A] of the first A clients plus the penalties; `names` are the tensors that train."""
        for optimiser, context in self._active(len(losses)):
            trained = {name: state[name] for name in context.received if name in names}
            penalty = optimiser.penalty(trained, context.received)
            losses = losses if penalty is None else losses + penalty
        return losses

    @torch.no_grad()
    def adjust_gradients(self, gradients: State, state: State) -> State:
        """The gradients [A, ...] that the first A clients follow; those of local tensors do not change."""
        for optimiser, context in self._active(len(next(iter(gradients.values())))):
            shared = {name: value for name, value in gradients.items() if name in context.received}
            values = {name: state[name].detach() for name in shared}
            gradients = {**gradients, **optimiser.adjust_gradients(shared, values, context)}
        return gradients

    def record_phase(self, names: Sequence[str], steps: Sequence[int], lr: float, momentum: float) -> None:
        """Notes that a phase trained these tensors, with so many steps per client."""
        if not self.contexts:
            return
        reach = [momentum_reach(count, lr, momentum) for count in steps]
        for name, value in self.contexts[0].received.items():
            if name in names:
                own = value.new_tensor(reach).view(-1, *[1] * (value.dim() - 1))
                self.reach[name] = self.reach[name] + own if name in self.reach else own

    @torch.no_grad()
    def finish(self, final: State) -> list[tuple[State, State]]:
        """What each client keeps for the optimisers, and what it sends."""
        kept, upload = State(), State()
        for optimiser, context in self._active(len(self.clients)):
            shared = {name: final[name] for name in context.received}
            own, sent = optimiser.finish(shared, self.reach, context)
            kept |= _prefixed(optimiser, own)
            upload |= _prefixed(optimiser, sent)
        select = self.class_rows.select
        return [(select(kept, self.clients, k), select(upload, self.clients, k)) for k in range(len(self.clients))]

    def _active(self, count: int) -> list[tuple[Optimiser, ClientContext]]:
        everybody = count == len(self.clients)
        contexts = self.contexts if everybody else [context.first(count) for context in self.contexts]
        return list(zip(self.recipe.optimisers, contexts, strict=True))


def tensor_name(name: str) -> str:
    """The shared tensor that `OPTIMISER.TENSOR` belongs to."""
    return name.partition(".")[2]


def _prefixed(optimiser: Optimiser, state: State) -> State:
    return {f"{optimiser.name}.{name}": value for name, value in state.items()}


def _unprefixed(optimiser: Optimiser, state: State) -> State:
    prefix = f"{optimiser.name}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _joined(states: Sequence[State]) -> State:
    return {name: value for state in states for name, value in state.items()}
