"""What a simulation works with and never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.schedule import evaluated_rounds
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
        eval_every, eval_at: Rounds between evaluations, or the evaluated rounds; see `evaluated_rounds`.
        training: Local training, unless a phase of the method overrides it.
        personal_epochs: Local epochs on a client's own data before its personalised score after the last round, and of
            a method's own fine-tuning where it names no number; 0: no personalised score and no such fine-tuning.
        personal_lr_factor: Multiplies the learning rates before a personalised score.
        min_test: Test samples that a client needs to count for the worst client and the lowest tenth.
        prior_smoothing: Samples of each class added to a client's class counts for the prior correction.
        standardize: Standardisation of the final features, `none`, `features` or `whiten`.
        head_init: Initial head, `random`, `zero`, `ncm` or `ridge`.
    """

    rounds: int
    participation: float
    eval_every: int | None
    training: LocalTraining
    personal_epochs: int = 1
    min_test: int = 10
    prior_smoothing: float = 0.0
    standardize: str = "none"
    head_init: str = "random"
    eval_at: tuple[int, ...] | None = None
    personal_lr_factor: float = 1.0

    @property
    def prepares(self) -> bool:
        """Whether seen clients send anything that is the same for every method, before the run."""
        return self.standardize != "none" or self.head_init != "random"

    @property
    def evaluated(self) -> tuple[int, ...]:
        """The rounds after which all clients are scored, ascending."""
        return evaluated_rounds(self.rounds, self.eval_every, self.eval_at)


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
    sampled_before: Sequence[int] = ()
    """Clients that an earlier run sampled, whose state this one starts from."""

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

    def cohort(self, number: int) -> np.ndarray:
        """The seen clients sampled in a round, ascending: their share of all, halves rounded up, at least one."""
        seen = self.federation.seen
        count = max(1, int(round(self.settings.participation * len(seen), 9) + 0.5))
        return np.sort(self.streams.numpy("cohort", number).choice(seen, count, replace=False))

    def sampled(self, number: int) -> np.ndarray:
        """The clients sampled in at least one of the rounds 1 to `number`, ascending; the same for every method.

        Those of `sampled_before` are among them.
        """
        is_sampled = np.zeros(len(self.federation.clients), dtype=bool)
        is_sampled[list(self.sampled_before)] = True
        for past in range(1, number + 1):
            is_sampled[self.cohort(past)] = True
            if is_sampled[self.federation.seen].all():  # as soon as that, however many rounds follow
                break
        return np.flatnonzero(is_sampled)

    def placed(self, state: State) -> State:
        """The tensors on the device of the run, contiguous: sums take the same order with and without a checkpoint."""
        return {name: value.to(self.vit.device).contiguous() for name, value in state.items()}

    def class_ids(self, classes: np.ndarray) -> torch.Tensor:
        """Class ids as an index on the device of the run."""
        return torch.from_numpy(classes).to(self.vit.device)
