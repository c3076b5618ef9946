"""Shared by the tests of the contract: names to test, read-only runs, and comparisons of states."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from fedprompt.benchmark.simulation.outcome import Outcome
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate, LocalTraining
from fedprompt.methods import Method, Optimiser, State, registry
from tests import toy

TRAINING = LocalTraining(epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.01)
ROUNDS = 2
COHORT = [0, 1, 2]
SIZES = np.array([21, 10, 15])
SETTINGS = {"pfedfda": {"diagonal": 20.0}}
"""The toy's classes are so far apart that Gaussian classes would have no loss to learn from."""
OPTIMISED = ("fedvpt", "pep-fedpt", "fedper")
"""Methods combined with every optimiser: everything shared, per-class tensors with statistics, a local head."""


def new(name: str, **changes: Any) -> Simulator:
    """A simulator of `name` on three unequal clients and a held-out one."""
    usual = {"of": toy.unequal(), "rounds": ROUNDS, "training": TRAINING, "settings": SETTINGS}
    return toy.simulator(name, **{**usual, **changes})


@dataclass(frozen=True)
class Run:
    """A finished, read-only run, its initial tensors, and the backbone's tensors before it."""

    simulator: Simulator
    outcome: Outcome
    initial: State
    backbone: State


@cache
def ran(name: str) -> Run:
    """The shared run of `name`."""
    simulator = new(name)
    backbone = copy(dict(simulator.context.vit.model.state_dict()))
    initial = copy({**simulator.state.server.tensors, **simulator.state.initial_local})
    return Run(simulator, simulator.run(), initial, backbone)


@cache
def begun(name: str) -> Simulator:
    """A read-only simulator of `name` before round 1, after its initial statistics."""
    simulator = new(name, rounds=0)
    simulator.run()
    return simulator


@cache
def learned(name: str, number: int) -> list[ClientUpdate]:
    """The cohort's updates of one round of `begun(name)`, trained one by one; read only."""
    return toy.learned(begun(name), COHORT, number)


def copy(state: State) -> State:
    return {key: value.clone() for key, value in state.items()}


def same(one: State, other: State) -> bool:
    """Whether two states have the same names and bit-identical values."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def close(one: State, other: State, tolerance: float) -> None:
    """Asserts that two states have the same names and nearly equal values."""
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_allclose(one[key], other[key], atol=tolerance, rtol=tolerance, err_msg=key)


def numbers(outcome: Outcome) -> str:
    """All measurements of a run, except times."""
    rounds = [{k: v for k, v in row.items() if k != "seconds"} for row in outcome.rounds]
    return json.dumps([rounds, outcome.clients, outcome.metrics, outcome.metrics_prior])


@cache
def declared(name: str) -> tuple[State, State]:
    """The shared and the local tensors that a method declares."""
    method, streams = registry.create(name).method, new(name).context.streams
    return method.shared(toy.vit(), streams.torch), method.local(toy.vit(), streams.torch)


def received_bytes(name: str, job: ClientTask) -> int:
    """Bytes sent to a client; per-class tensors count only the rows of its classes."""
    rows, held = begun(name).context.recipe.class_rows, np.flatnonzero(job.counts)
    sent = {**job.state.shared, **job.state.memory, **job.optimiser_received}
    return sum((value[held] if key in rows else value).numpy().nbytes for key, value in sent.items())


def whole(name: str, key: str, sent: torch.Tensor, job: ClientTask) -> np.ndarray:
    """A shared tensor after a client's training, with the received rows for other classes."""
    if key not in begun(name).context.method.class_rows:
        return sent.double().numpy()
    rows = job.state.shared[key].double().numpy().copy()
    rows[np.flatnonzero(job.counts)] = sent.double().numpy()
    return rows


def trains(name: str) -> bool:
    """Whether a method has training phases."""
    return bool(registry.create(name).method.phases())


def averages(name: str) -> bool:
    """Whether the server only averages shared tensors."""
    recipe = registry.create(name)
    plain = all(type(o).server_step is Optimiser.server_step for o in recipe.optimisers)
    return plain and type(recipe.method).combine is Method.combine


registry.discover()
METHODS = sorted(registry.METHODS)
VARIANTS = [f"{name}:{variant}" for name in METHODS for variant in registry.METHODS[name].variants]
WITH_OPTIMISER = [f"{name}+{optimiser}" for name in OPTIMISED for optimiser in sorted(registry.OPTIMISERS)]
