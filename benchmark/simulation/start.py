"""Starts a simulation from the trained state of an earlier run, in place of initial tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fedprompt.benchmark.backbone.standardization import Standardization
from fedprompt.benchmark.simulation.state import FederationState
from fedprompt.methods.base import State

STANDARDIZE = "standardize"
RESTORED, FRESH = "restored", "fresh"


@dataclass(frozen=True)
class StartState:
    """The trained state of an earlier run.

    Attributes:
        tensors: By `PART/NAME`: every tensor of the server, and those of the clients as far as they were kept.
        clients: Clients with tensors, by part, in the order in which they first trained.
        rounds_trained: Number of rounds that each client trained in; None if clients have tensors that were not kept.
        sampled: The clients that the earlier rounds sampled.
        federation: Hash of the clients' data.
    """

    tensors: State
    clients: Mapping[str, Sequence[int]]
    rounds_trained: Sequence[int] | None
    sampled: Sequence[int]
    federation: str

    @property
    def standardization(self) -> Standardization | None:
        """The statistics that standardise the features of the earlier run."""
        if f"{STANDARDIZE}/mean" not in self.tensors:
            return None
        return Standardization(self.tensors[f"{STANDARDIZE}/mean"], self.tensors[f"{STANDARDIZE}/scale"], constant=0)


@dataclass(frozen=True)
class Restored:
    """What `FederationState.load` takes, and whether clients continue with their own tensors or start `fresh`."""

    server: State
    memory: list[State]
    per_client: dict[str, dict[int, State]]
    rounds_trained: np.ndarray
    clients: str

    def apply(self, state: FederationState) -> None:
        """Replaces the initial tensors."""
        state.load(self.server, self.memory, self.per_client, self.rounds_trained)


def kept_tensors(state: FederationState, clients: bool) -> State:
    """Every tensor of the server by `PART/NAME`, with those of the clients that have trained if `clients`."""
    parts: dict[str, State] = {"server": state.server.tensors}
    parts |= {f"optimiser/{i}": memory for i, memory in enumerate(state.optimiser_memory)}
    if clients:
        per_client = state.per_client.items()
        parts |= {f"{kind}/{client}": own for kind, states in per_client for client, own in states.items()}
    if isinstance(found := state.context.vit.standardization, Standardization):
        parts[STANDARDIZE] = {"mean": found.mean, "scale": found.scale}
    return {f"{part}/{name}": value for part, tensors in parts.items() for name, value in tensors.items()}


def is_complete(state: FederationState, clients: bool) -> bool:
    """Whether `kept_tensors` leaves nothing out: it has the clients' tensors, or the method keeps none at clients."""
    return clients or not any(state.templates().values())


def restored(state: FederationState, start: StartState) -> Restored:
    """What a simulation in its initial state takes over.

    On the same federation, clients continue with their own tensors if these were kept. Otherwise they start fresh, and
    with them what the server keeps per client: private tensors with one row per client, and the memory of optimisers
    that also keep something at clients.

    Raises:
        ValueError: A tensor is missing, unknown, or of another shape or type; completes "its model ...".
    """
    context, same = state.context, start.federation == state.context.federation.hash
    resumes = same and start.rounds_trained is not None
    tensors = {name: value for name, value in start.tensors.items() if not name.startswith(f"{STANDARDIZE}/")}
    if not resumes:
        tensors = {name: value for name, value in tensors.items() if name.startswith(("server/", "optimiser/"))}
    if not same:
        known = {f"server/{name}" for name in state.initial_server.keys() - _rows_of_clients(state)}
        tensors = {name: value for name, value in tensors.items() if name in known or not name.startswith("server/")}
    if not resumes:
        tensors |= _fresh_memory(state)
    _check_server(state, tensors, _rows_of_clients(state) if not same else set())
    server, memory, per_client = state.checked(context.placed(tensors), start.clients if resumes else {})
    trained = np.array(start.rounds_trained if resumes else np.zeros(len(context.federation.clients)), dtype=np.int64)
    if len(trained) != len(context.federation.clients):
        raise ValueError("does not fit the number of clients")
    return Restored(server, memory, per_client, trained, RESTORED if resumes else FRESH)


def _rows_of_clients(state: FederationState) -> set[str]:
    """Private tensors whose shape depends on the number of clients."""
    context, clients = state.context, len(state.context.federation.clients)
    more = context.method.private(context.vit, context.streams.torch, clients + 1)
    return {name for name, value in state.server.private.items() if value.shape != more[name].shape}


def _fresh_memory(state: FederationState) -> State:
    """The initial server tensors of optimisers that keep tensors at clients, too."""
    return {
        f"optimiser/{i}/{name}": value
        for i, optimiser in enumerate(state.context.recipe.optimisers)
        if any(name.startswith(f"{optimiser.name}.") for name in state.optimiser_initial)
        for name, value in state.optimiser_memory[i].items()
    }


def _check_server(state: FederationState, tensors: State, absent: set[str]) -> None:
    """Raises ValueError unless all tensors of the server are there, in the shapes that this run has."""
    for name, initial in state.initial_server.items():
        value = tensors.get(f"server/{name}")
        if value is None and name not in absent:
            raise ValueError(f"has no tensor {name}, which this run's method needs")
        rows = 1 if name in state.context.method.selects else 0  # a pool may have grown
        if value is not None and (value.shape[rows:] != initial.shape[rows:] or value.dtype != initial.dtype):
            raise ValueError(f"has {name} of {_layout(value)}; this run's has {_layout(initial)}")


def _layout(value: torch.Tensor) -> str:
    return f"shape {list(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
