"""A method under test on the toy federation: the runs that the checks of the contract inspect."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedprompt.benchmark.contract import toy
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.executor import Executor, Kind
from fedprompt.benchmark.simulation.local_training import client_info
from fedprompt.benchmark.simulation.outcome import Outcome
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate
from fedprompt.methods.base import State
from fedprompt.methods.registry import Recipe

ROUNDS = 3
TOLERANCE = 1e-3  # for float sums in a different order


class ContractError(Exception):
    """The method breaks a rule of the contract; the message says how."""


@dataclass
class Case:
    """A method under test, with the runs that several checks share."""

    recipe: Recipe

    def __post_init__(self) -> None:
        self.method = self.recipe.method
        self.vit = toy.vit()
        self.backbone = copied(dict(self.vit.model.state_dict()))

    def new(self, rounds: int = ROUNDS) -> Simulator:
        """Returns a simulator that has not started."""
        return toy.simulator(self.recipe, self.vit, rounds)

    @cached_property
    def started(self) -> tuple[Simulator, State, State]:
        """A simulator, its initial tensors (the same objects), and copies of them."""
        simulator = self.new()
        tensors = {**simulator.state.server.tensors, **simulator.state.initial_local}
        return simulator, tensors, copied(tensors)

    @cached_property
    def outcome(self) -> Outcome:
        """The measurements of the run."""
        return self.started[0].run()

    @property
    def ran(self) -> Simulator:
        """The simulator after its last round; read-only."""
        assert self.outcome
        return self.started[0]

    @cached_property
    def untrained(self) -> Simulator:
        """A simulator before round 1, after the initial statistics."""
        simulator = self.new(rounds=0)
        simulator.run()
        return simulator

    @property
    def trained(self) -> set[str]:
        """Names of the tensors that a phase trains or that `after_batch` changes."""
        state, method = self.untrained.state, self.method
        declared = (*state.server.shared, *state.initial_local)
        changed = method.after_batch(self.batch(self.untrained.make_tasks(toy.SEEN, 1))[1])
        phases = [phase for phase in (*method.phases(), method.fine_tuning) if phase]
        return {*changed, *(name for phase in phases for name in (declared if phase.trains is None else phase.trains))}

    def updates(self, simulator: Simulator, kind: Kind, number: int) -> list[ClientUpdate]:
        """Returns the seen clients' updates after training from the simulator's state, which does not change."""
        tasks = simulator.make_tasks(toy.SEEN, number)
        return Executor(kind).train(self.recipe, self.vit, simulator.context.train, tasks, toy.TRAINING)

    def batch(self, tasks: Sequence[ClientTask], width: int = 60) -> tuple[Batch, State]:
        """Returns a batch of up to `width` rows per client, and the state of its clients."""
        clients = client_info(tasks, self.vit)
        batch = Batch(self.untrained.context.train, [task.rows[:width] for task in tasks], clients)
        states = [task.state.tensors for task in tasks]
        return batch, ClassRows(self.recipe.class_rows, self.vit.classes).gather(states, clients)


def copied(state: State) -> State:
    """Returns copies of a state's tensors."""
    return {name: value.clone() for name, value in state.items()}


def unlike(one: State, other: State, close: bool = False) -> list[str]:
    """Returns the names in `one` whose values differ in `other`: in any bit, or with `close` beyond the tolerance."""

    def same(a: Tensor, b: Tensor) -> bool:
        return a.shape == b.shape and (
            torch.allclose(a, b, TOLERANCE, TOLERANCE, equal_nan=True) if close else torch.equal(a, b)
        )

    return [name for name in one if name not in other or not same(one[name], other[name])]


def demand(broken: Sequence[str] | set[str], message: str) -> None:
    """Raises `ContractError` if there are any names; they replace `{}` in the message."""
    if broken:
        raise ContractError(message.format(", ".join(sorted(broken))))
