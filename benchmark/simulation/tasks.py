"""What a client is given for a round of local training, and what it returns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from fedprompt.benchmark.simulation.schedule import lr_factor
from fedprompt.methods.base import Phase, State


@dataclass(frozen=True)
class LocalTraining:
    """Local training of every client, unless a phase of the method overrides it.

    Attributes:
        epochs: Local epochs per round.
        batch_size: Local batch size; the last batch of an epoch may be smaller.
        lr: Learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay: an L2 penalty with sgd and adam, decoupled with adamw.
        clip_norm: Bound on the norm of each client's gradient; None: no bound.
        optimizer: The optimiser of `LOCAL_OPTIMISERS`.
        beta1: Decay of Adam's first moment.
        beta2: Decay of Adam's second moment.
        eps: Added to the square root of Adam's second moment.
        lr_schedule: The learning rates over the rounds, of `LR_SCHEDULES`.
        lr_factor: Multiplies every learning rate, those of phases and tensors too.
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    optimizer: str = "sgd"
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    lr_schedule: str = "constant"
    lr_factor: float = 1.0

    def in_round(self, number: int, rounds: int) -> LocalTraining:
        """Local training in round `number` of `rounds`. Fine-tuning before a score has the rates of the first round."""
        return replace(self, lr_factor=lr_factor(self.lr_schedule, number, rounds))

    def steps(self, samples: int) -> int:
        """Steps that a client with this many samples takes in a round."""
        return self.epochs * -(-samples // self.batch_size)

    def images(self, phases: Sequence[Phase], samples: int) -> int:
        """Images that a client with this many samples trains on in these phases, repeated steps included."""
        total, per_epoch = 0, -(-samples // self.batch_size)
        for phase in phases:
            steps = per_epoch * (phase.epochs or self.epochs)
            taken = steps if phase.batches is None else min(phase.batches, steps)
            epochs, rest = divmod(taken, max(1, per_epoch))
            total += phase.repeats * (epochs * samples + min(samples, rest * self.batch_size))
        return total


class NamedTensors(Mapping[str, Tensor]):
    """A state in several parts, which reads as one mapping."""

    @property
    @abstractmethod
    def tensors(self) -> State:
        """All tensors by name, as methods see them."""

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


@dataclass(frozen=True, eq=False)
class ClientState(NamedTensors):
    """A client's tensors by name: `shared` and `memory` come from the server, `local` is its own."""

    shared: State
    memory: State
    local: State

    @property
    def tensors(self) -> State:
        """All tensors by name."""
        return {**self.shared, **self.memory, **self.local}


@dataclass(frozen=True)
class ClientTask:
    """One client's local training.

    Attributes:
        client: Index of the client.
        rows: Its training samples.
        counts: Its training samples per class, [C].
        state: The tensors that it starts from.
        rng: Generator of its batch order.
        optimiser_received: What the server sent for the optimisers, by `OPTIMISER.TENSOR`.
        optimiser_local: What the client keeps for the optimisers, by `OPTIMISER.TENSOR`.
    """

    client: int
    rows: np.ndarray
    counts: np.ndarray
    state: ClientState
    rng: np.random.Generator
    optimiser_received: State = field(default_factory=dict)
    optimiser_local: State = field(default_factory=dict)


@dataclass
class ClientUpdate:
    """The result of one client's local training. Class-row tensors hold the rows of the client's own classes only.

    Attributes:
        client: Index of the client.
        samples: Number of its training samples.
        classes: Ids of its classes, [M].
        shared: Shared tensors after training; sent to the server.
        local: Local tensors after training; kept by the client.
        statistics: Untrained sums over its data, sent to the server and added up there.
        reports: Untrained sums over its data, sent to the server and used client by client.
        loss: Mean training loss over its steps.
        images: Images trained on.
        notes: Means of logged diagnostics over its steps.
        optimiser_local: What the client keeps for the optimisers, by `OPTIMISER.TENSOR`.
        optimiser_upload: What it sends for the optimisers, by `OPTIMISER.TENSOR`.
    """

    client: int
    samples: int
    classes: np.ndarray
    shared: State
    local: State
    statistics: State
    reports: State
    loss: float
    images: int
    notes: dict[str, float] = field(default_factory=dict)
    optimiser_local: State = field(default_factory=dict)
    optimiser_upload: State = field(default_factory=dict)

    @property
    def uploads(self) -> tuple[State, ...]:
        """Everything that the client sends to the server."""
        return self.shared, self.statistics, self.reports, self.optimiser_upload
