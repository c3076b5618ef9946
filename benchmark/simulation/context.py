"""What a simulation works with and never changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.data.federation import Federation
from fedprompt.methods.base import Method, State
from fedprompt.methods.registry import Recipe


@dataclass(frozen=True)
class RoundSettings:
    """The protocol that all methods share.

    Attributes:
        rounds: Number of rounds.
        participation: Share of the seen clients sampled in each round.
        eval_every: Rounds between evaluations.
        training: Local training, unless a phase of the method overrides it.
        adapt_epochs: Local epochs of held-out clients before they are scored once more after the last round; 0: none.
    """

    rounds: int
    participation: float
    eval_every: int
    training: LocalTraining
    adapt_epochs: int = 0

    @property
    def evaluated(self) -> tuple[int, ...]:
        """The rounds after which all clients are scored, 0 being before the first; the last one always."""
        every, rounds = self.eval_every, self.rounds
        return (*range(0, rounds, every), rounds) if every < rounds else (rounds,)


@dataclass(frozen=True)
class SimulationContext:
    """One method with its optimisers, the frozen backbone, the data, the clients and the protocol."""

    recipe: Recipe
    vit: FrozenViT
    train: Samples
    test: Samples
    federation: Federation
    streams: RandomStreams
    settings: RoundSettings

    @property
    def method(self) -> Method:
        """The method of the recipe."""
        return self.recipe.method

    @cached_property
    def trains(self) -> bool:
        """Whether the method trains anything; if not, rounds change nothing."""
        return bool(self.method.phases())

    @cached_property
    def class_rows(self) -> ClassRows:
        """The tensors with one row per class, those of the optimisers included."""
        return ClassRows(self.recipe.class_rows, self.vit.classes)

    def placed(self, state: State) -> State:
        """The tensors on the device of the run, contiguous: sums take the same order with and without a checkpoint."""
        return {name: value.to(self.vit.device).contiguous() for name, value in state.items()}

    def class_ids(self, classes: np.ndarray) -> torch.Tensor:
        """Class ids as an index on the device of the run."""
        return torch.from_numpy(classes).to(self.vit.device)
