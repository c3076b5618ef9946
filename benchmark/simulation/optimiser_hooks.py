"""The optimiser plug-ins of a run: at the clients of a cohort, and at the server between rounds.

What they send, keep and upload is in one state for all of them, by `PLUGIN.TENSOR`; it is stacked over clients, and
counted when it travels, as the shared tensor of that name is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedprompt.benchmark.simulation.batch import Clients
from fedprompt.benchmark.simulation.stacking import stack, unstack, whole
from fedprompt.methods.base import State, Uploads
from fedprompt.methods.optimiser import ClientContext, Optimiser
from fedprompt.methods.registry import Recipe

if TYPE_CHECKING:
    from fedprompt.benchmark.simulation.local_training import ClientTask, ClientUpdate


def initial(recipe: Recipe, shared: State) -> State:
    """What a client that has not trained keeps for the plug-ins."""
    return _joined([_tagged(optimiser, optimiser.local(shared)) for optimiser in recipe.optimisers])


def sent(recipe: Recipe, memory: Sequence[State]) -> State:
    """What the server sends for the plug-ins to each client of a round."""
    pairs = zip(recipe.optimisers, memory, strict=True)
    return _joined([_tagged(optimiser, optimiser.sent(held)) for optimiser, held in pairs])


def whole_of(part: State, update: ClientUpdate, recipe: Recipe, shared: State) -> State:
    """A part of an update with the rows of all classes, zero for those that the client does not hold; a copy."""
    if not part:
        return {}
    own = {name: value.clone() for name, value in part.items()}
    zeros = {name: torch.zeros_like(shared[tensor_of(name)]) for name in part if name in recipe.class_rows}
    classes = torch.from_numpy(update.classes).to(next(iter(shared.values())).device)
    return whole(own, zeros, classes, recipe.class_rows)


def step(
    recipe: Recipe,
    memory: Sequence[State],
    before: State,
    averaged: State,
    uploads: Uploads,
    beside: Sequence[State],
    clients: int,
) -> tuple[State, list[State]]:
    """The shared tensors to continue from and the plug-ins' new memory, each plug-in's step after the one before it.

    `beside` is what each client of the round uploaded for the plug-ins, whole; `clients` is how many train in all.
    """
    reports = {name: torch.stack([own[name] for own in beside]) for name in beside[0]}
    new = []
    for optimiser, held in zip(recipe.optimisers, memory, strict=True):
        own = replace(uploads, statistics={}, reports=_own(optimiser, reports))
        held = optimiser.gather(held, before, own, clients)
        averaged, held = optimiser.server_step(before, averaged, held)
        new.append(held)
    return averaged, new


def reach(steps: int, lr: float, momentum: float) -> float:
    """How far SGD moves a parameter in so many steps of a constant gradient of one; without momentum steps x lr.

    lr times |a|_1 of Wang et al. (FedNova, NeurIPS 2020, section 3): the weights that gradients have in the whole move.
    """
    pace = moved = 0.0
    for _ in range(steps):
        pace = momentum * pace + 1
        moved += pace
    return lr * moved


class ClientOptimisers:
    """The plug-ins of a recipe at the K clients of a cohort, during their local training."""

    def __init__(self, recipe: Recipe, jobs: Sequence[ClientTask], clients: Clients, received: State) -> None:
        self.recipe, self.clients = recipe, clients
        came = stack([job.sent for job in jobs], clients, recipe.class_rows)
        kept = stack([job.kept for job in jobs], clients, recipe.class_rows)
        self.visits = [ClientContext(received, _own(o, came), _own(o, kept)) for o in recipe.optimisers]
        self.reach: State = {}

    def penalised(self, losses: Tensor, state: State, names: Sequence[str]) -> Tensor:
        """The losses [A] of the first A clients with the plug-ins' terms; `names` are the tensors in training."""
        for optimiser, visit in self._visits(len(losses)):
            trained = {name: state[name] for name in visit.received if name in names}
            penalty = optimiser.penalty(trained, visit.received)
            losses = losses if penalty is None else losses + penalty
        return losses

    @torch.no_grad()
    def adjust_gradients(self, gradients: State, state: State) -> State:
        """The gradients [A, ...] that the first A clients follow; those of local tensors are left as they are."""
        for optimiser, visit in self._visits(len(next(iter(gradients.values())))):
            shared = {name: value for name, value in gradients.items() if name in visit.received}
            here = {name: state[name].detach() for name in shared}
            gradients = {**gradients, **optimiser.adjust_gradients(shared, here, visit)}
        return gradients

    def trained(self, names: Sequence[str], steps: Sequence[int], lr: float, momentum: float) -> None:
        """Notes that a phase trained these tensors, for so many steps at each client."""
        for visit in self.visits[:1]:
            moves = [reach(own, lr, momentum) for own in steps]
            for name in [name for name in names if name in visit.received]:
                value = visit.received[name]
                own = value.new_tensor(moves).view(-1, *[1] * (value.dim() - 1))
                self.reach[name] = self.reach[name] + own if name in self.reach else own

    @torch.no_grad()
    def ends(self, final: State) -> list[tuple[State, State]]:
        """What each client keeps for the plug-ins, and what it uploads: of rows of classes, its own."""
        kept, beside = State(), State()
        for optimiser, visit in self._visits(len(self.clients)):
            ended = {name: final[name] for name in visit.received}
            own, uploaded = optimiser.finish(ended, self.reach, visit)
            kept |= _tagged(optimiser, own)
            beside |= _tagged(optimiser, uploaded)
        clients, rows = self.clients, self.recipe.class_rows
        return [(unstack(kept, clients, k, rows), unstack(beside, clients, k, rows)) for k in range(len(clients))]

    def _visits(self, active: int) -> list[tuple[Optimiser, ClientContext]]:
        everybody = active == len(self.clients)
        visits = self.visits if everybody else [visit.first(active) for visit in self.visits]
        return list(zip(self.recipe.optimisers, visits, strict=True))


def tensor_of(name: str) -> str:
    """The shared tensor that `PLUGIN.TENSOR` goes with."""
    return name.partition(".")[2]


def _tagged(optimiser: Optimiser, state: State) -> State:
    return {f"{optimiser.name}.{name}": value for name, value in state.items()}


def _own(optimiser: Optimiser, state: State) -> State:
    mark = f"{optimiser.name}."
    return {name.removeprefix(mark): value for name, value in state.items() if name.startswith(mark)}


def _joined(states: Sequence[State]) -> State:
    return {name: value for state in states for name, value in state.items()}
