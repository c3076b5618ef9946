"""A method under examination on the toy federation: what the checks of its contract look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.contract import toy
from fedprompt.benchmark.simulation.batch import Batch, Clients
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.executor import Executor, Kind
from fedprompt.benchmark.simulation.outcome import Outcome
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate
from fedprompt.methods.base import State
from fedprompt.methods.registry import Recipe

ROUNDS = 3
TOLERANCE = 1e-3  # of float sums that are taken in another order


class ContractError(Exception):
    """A part of the contract does not hold; the message says what was found instead."""


@dataclass
class Case:
    """A method under examination, with what several checks look at."""

    recipe: Recipe

    def __post_init__(self) -> None:
        self.method = self.recipe.method
        self.vit = toy.vit()
        self.backbone = copied(dict(self.vit.model.state_dict()))

    def new(self, rounds: int = ROUNDS) -> Simulator:
        """A simulator that has not started."""
        return toy.simulator(self.recipe, self.vit, rounds)

    @cached_property
    def started(self) -> tuple[Simulator, State, State]:
        """A simulator, the very tensors that it starts from, and copies of them."""
        simulator = self.new()
        tensors = {**simulator.state.server.tensors, **simulator.state.initial_local}
        return simulator, tensors, copied(tensors)

    @cached_property
    def outcome(self) -> Outcome:
        """What the run measured."""
        return self.started[0].run()

    @property
    def ran(self) -> Simulator:
        """The simulator after its rounds, to be read only."""
        assert self.outcome
        return self.started[0]

    @cached_property
    def untrained(self) -> Simulator:
        """A simulator before round 1, with whatever clients send then."""
        simulator = self.new(rounds=0)
        simulator.run()
        return simulator

    @property
    def trained(self) -> set[str]:
        """The tensors that some phase trains, or that move once the steps on a batch are taken."""
        names, phases = (
            {*self.untrained.state.server.shared, *self.untrained.state.initial_local},
            [*self.method.phases()],
        )
        phases += [self.method.fine_tuning] if self.method.fine_tuning else []
        settled = self.method.after_batch(self.batch(self.untrained.make_tasks(toy.SEEN, 1))[1])
        return {*settled, *(name for phase in phases for name in (names if phase.trains is None else phase.trains))}

    def updates(self, simulator: Simulator, kind: Kind, number: int) -> list[ClientUpdate]:
        """What the seen clients end with after training from where the simulator is, which stays as it was."""
        jobs = simulator.make_tasks(toy.SEEN, number)
        return Executor(kind).train(self.recipe, self.vit, simulator.context.train, jobs, toy.TRAINING)

    def batch(self, jobs: Sequence[ClientTask], width: int = 60) -> tuple[Batch, State]:
        """Up to `width` rows of each job's client, and their state."""
        clients = Clients.of(np.stack([job.counts for job in jobs]), self.vit.device)
        states = [job.state.tensors for job in jobs]
        batch = Batch(self.untrained.context.train, [job.rows[:width] for job in jobs], clients)
        return batch, ClassRows(self.recipe.class_rows, self.vit.classes).gather(states, clients)


def copied(state: State) -> State:
    """Copies of a state's tensors."""
    return {name: value.clone() for name, value in state.items()}


def unlike(one: State, other: State, close: bool = False) -> list[str]:
    """The names whose values differ: in any bit, or with `close`, by more than the tolerance."""

    def same(a: Tensor, b: Tensor) -> bool:
        return a.shape == b.shape and (
            torch.allclose(a, b, TOLERANCE, TOLERANCE, equal_nan=True) if close else torch.equal(a, b)
        )

    return [name for name in one if name not in other or not same(one[name], other[name])]


def demand(broken: Sequence[str] | set[str], message: str) -> None:
    """Raises `ContractError` with the names put into the message, where there are any."""
    if broken:
        raise ContractError(message.format(", ".join(sorted(broken))))
