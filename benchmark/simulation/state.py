"""Tensors of the server and of its clients, and how they change between rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from fedprompt.benchmark.simulation import optimisers
from fedprompt.benchmark.simulation.context import SimulationContext
from fedprompt.benchmark.simulation.tasks import ClientState, ClientUpdate, NamedTensors
from fedprompt.methods.base import State


@dataclass(frozen=True, eq=False)
class ServerState(NamedTensors):
    """The server's tensors by name: `shared` is trained and averaged, `memory` only sent, `private` never sent."""

    shared: State
    memory: State
    private: State

    @property
    def tensors(self) -> State:
        """All tensors by name."""
        return {**self.shared, **self.memory, **self.private}

    def updated(self, tensors: State) -> ServerState:
        """This state with new values; a name that it does not have yet becomes private."""
        known = self.shared.keys() | self.memory.keys()
        return ServerState(
            {name: tensors.get(name, value) for name, value in self.shared.items()},
            {name: tensors.get(name, value) for name, value in self.memory.items()},
            {**self.private, **{name: value for name, value in tensors.items() if name not in known}},
        )


@dataclass
class FederationState:
    """Everything that training changes, between two rounds.

    Attributes:
        server: The server's tensors.
        initial_server: The server's tensors before round 1.
        initial_local: Local tensors of a client before its first round.
        local: Local tensors, and personal copies of shared ones, by client; only of clients that have trained.
        optimiser_memory: Server tensors of each optimiser.
        optimiser_initial: Optimiser tensors of a client before its first round, by `OPTIMISER.TENSOR`.
        optimiser_local: Optimiser tensors by client; only of clients that have trained.
        rounds_trained: Number of rounds that each client trained in, [N].
    """

    context: SimulationContext
    server: ServerState
    initial_server: State
    initial_local: State
    optimiser_memory: list[State]
    optimiser_initial: State
    rounds_trained: np.ndarray
    local: dict[int, State] = field(default_factory=dict)
    optimiser_local: dict[int, State] = field(default_factory=dict)

    @classmethod
    def initial(cls, context: SimulationContext) -> FederationState:
        """The state before round 1, as the method and its optimisers define it."""
        method, vit, streams = context.method, context.vit, context.streams
        clients = len(context.federation.clients)
        shared = context.placed(method.shared(vit, streams.torch))
        private = context.placed(method.private(vit, streams.torch, clients))
        memory = context.placed(method.memory(vit, streams.torch))
        server = ServerState(shared, memory, private)
        return cls(
            context,
            server,
            server.tensors,
            context.placed(method.local(vit, streams.torch)),
            [optimiser.memory(shared) for optimiser in context.recipe.optimisers],
            optimisers.initial(context.recipe, shared),
            np.zeros(clients, dtype=np.int64),
        )

    def received(self, client: int | None, shared: State | None = None) -> State:
        """What the server sends to a client (None: one that never trained), or would send with other `shared`."""
        tensors = self.server.tensors if shared is None else {**self.server.tensors, **shared}
        sent = self.context.method.download(tensors, client)
        return {name: value for name, value in sent.items() if name not in self.server.private}

    def for_training(self, client: int) -> ClientState:
        """What a client starts its local training from: its own local tensors are the initial ones before its first."""
        own = self.local.get(client)
        local = self.initial_local if own is None else {name: own[name] for name in self.initial_local}
        return self._client_state(self.received(client), local)

    def for_prediction(self, clients: Iterable[int]) -> list[ClientState]:
        """What each client predicts with.

        A client that has trained uses its own local tensors and personal copies. One that has not, seen or held out,
        has none: its local tensors follow from what the server sends to a client that it does not know and from the
        mean over the trained clients, as the method defines.
        """
        shared = optimisers.evaluated(self.context.recipe, self.server.shared, self.optimiser_memory)
        mean, states = None, []
        for client in clients:
            if self.rounds_trained[client]:
                received = self.received(client, shared)
                local = {**self.initial_local, **self.local.get(client, {})}
            else:
                received, mean = self.received(None, shared), mean or self.mean_local()
                local = self.context.method.held_out_local(received, mean)
            received |= {name: value for name, value in local.items() if name not in self.initial_local}
            states.append(self._client_state(received, {name: local[name] for name in self.initial_local}))
        return states

    def _client_state(self, received: State, local: State) -> ClientState:
        shared = {name: value for name, value in received.items() if name in self.server.shared}
        return ClientState(shared, {name: v for name, v in received.items() if name not in shared}, local)

    def mean_local(self) -> State:
        """The mean of the local tensors over the clients that have trained; the initial ones before any has."""
        if not self.local:
            return self.initial_local
        return {name: torch.stack([own[name] for own in self.local.values()]).mean(0) for name in self.initial_local}

    def store(self, update: ClientUpdate) -> None:
        """Keeps what stays with a client after its local training."""
        self.rounds_trained[update.client] += 1
        own = {**update.local, **{name: update.shared[name] for name in self.context.method.personal_copies}}
        if own:
            self.local[update.client] = {name: value.clone() for name, value in own.items()}
        if update.optimiser_local:
            full = self.context.class_rows.scatter(update.optimiser_local, self.context.class_ids(update.classes))
            self.optimiser_local[update.client] = {name: value.clone() for name, value in full.items()}

    @property
    def per_client(self) -> dict[str, dict[int, State]]:
        """The tensors of clients that have trained, by kind."""
        return {"local": self.local, "optimiser_local": self.optimiser_local}

    def templates(self) -> dict[str, State]:
        """For each kind in `per_client`, a state of the same names and shapes."""
        personal = {name: self.server.shared[name] for name in self.context.method.personal_copies}
        return {"local": {**personal, **self.initial_local}, "optimiser_local": self.optimiser_initial}

    def tensors(self) -> State:
        """What training has changed, by `PART/NAME`. Tensors never change in place: a changed one is a new object."""
        server = self.server.tensors
        parts = {"server": {name: v for name, v in server.items() if v is not self.initial_server.get(name)}}
        parts |= {f"optimiser/{i}": memory for i, memory in enumerate(self.optimiser_memory)}
        for kind, states in self.per_client.items():
            parts |= {f"{kind}/{client}": state for client, state in states.items()}
        return {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}

    def checked(
        self, tensors: State, clients: Mapping[str, Sequence[int]]
    ) -> tuple[State, list[State], dict[str, dict[int, State]]]:
        """What `load` takes, from the result of `tensors` and the clients of each kind in `per_client`.

        Raises:
            ValueError: A tensor is missing, unknown, or of another shape or type; completes "the checkpoint ...".
        """
        left = dict(tensors)

        def take(part: str, templates: State, complete: bool = True) -> State:
            """Moves the tensors of a part out of `left`, after a comparison with their templates."""
            taken = {name: left.pop(f"{part}/{name}") for name in templates if f"{part}/{name}" in left}
            for name, value in taken.items():
                fixed = complete and name not in self.context.method.personal_copies
                if not _same_layout(value, templates[name], fixed):
                    raise ValueError(f"has a tensor of another shape or type: {part}/{name}")
            if complete and taken.keys() != templates.keys():
                raise ValueError(f"lacks {part}/{sorted(templates.keys() - taken.keys())[0]}")
            return taken

        server = take("server", self.initial_server, complete=False)  # unchanged ones are absent; pools may grow
        server |= take("server", self._client_pools(left), complete=False)
        memory = [take(f"optimiser/{i}", own) for i, own in enumerate(self.optimiser_memory)]
        per_client = {
            kind: {client: take(f"{kind}/{client}", template) for client in clients.get(kind, [])}
            for kind, template in self.templates().items()
        }
        if left:
            raise ValueError(f"has a tensor that its run does not have: {sorted(left)[0]}")
        return server, memory, per_client

    def load(
        self, server: State, memory: list[State], per_client: dict[str, dict[int, State]], rounds_trained: np.ndarray
    ) -> None:
        """Takes over tensors that `checked` has returned."""
        self.server, self.optimiser_memory, self.rounds_trained = self.server.updated(server), memory, rounds_trained
        self.local, self.optimiser_local = per_client["local"], per_client["optimiser_local"]

    def _client_pools(self, tensors: State) -> State:
        """Templates of the shared tensors that the server keeps per client, as `CLIENT.NAME`, by the names present."""
        clients = {str(client) for client in range(len(self.context.federation.clients))}
        names = [key.removeprefix("server/") for key in tensors if key.startswith("server/")]
        parts = {name: name.partition(".") for name in names}
        return {
            name: self.initial_server[tensor]
            for name, (client, _, tensor) in parts.items()
            if client in clients and tensor in self.server.shared
        }


def _same_layout(value: torch.Tensor, template: torch.Tensor, fixed: bool) -> bool:
    """Whether type and shape agree; unless `fixed`, the first dimension may differ."""
    skipped = 0 if fixed else 1
    same = value.dtype == template.dtype and value.dim() == template.dim()
    return same and value.shape[skipped:] == template.shape[skipped:]
