"""fedrep: trains the head with fixed prompts, then the prompts with the fixed head."""

from dataclasses import replace

import torch

from fedprompt.benchmark.simulation.local_training import train_clients
from fedprompt.methods import Phase
from fedprompt.methods.registry import create
from tests import toy

HEAD = {"head.weight", "head.bias"}


def moved(before, after):
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_each_phase_changes_only_its_own_part():
    simulator = toy.simulator("fedrep", of=toy.unequal())
    (job,) = simulator.make_tasks([0], 1)
    arguments = simulator.context.recipe, simulator.context.vit, simulator.context.train, [job], toy.TRAINING
    for phase, own in zip(simulator.context.method.phases(), (HEAD, {"prompt"}), strict=True):
        (update,) = train_clients(*arguments, (phase,))
        assert moved({**job.state.shared, **job.state.local}, {**update.shared, **update.local}) == own


def test_the_prompts_train_with_the_head_of_the_first_phase():
    """Two updates by hand, the second from where the first ended, on the batches that follow in the client's order."""
    simulator = toy.simulator("fedrep", of=toy.unequal())
    (whole,) = toy.learned(simulator, [0], 1)
    (job,) = simulator.make_tasks([0], 1)
    arguments = simulator.context.recipe, simulator.context.vit, simulator.context.train
    (first,) = train_clients(*arguments, [job], toy.TRAINING, (Phase(tuple(HEAD)),))
    for _ in range(toy.TRAINING.epochs):
        job.rng.permutation(job.rows)
    (second,) = train_clients(
        *arguments, [replace(job, state=replace(job.state, local=first.local))], toy.TRAINING, (Phase(("prompt",)),)
    )
    assert torch.equal(whole.shared["prompt"], second.shared["prompt"])
    assert all(torch.equal(whole.local[key], first.local[key]) for key in HEAD)


def test_the_head_may_train_for_epochs_of_its_own():
    simulator = toy.simulator("fedrep", of=toy.unequal(), settings={"fedrep": {"head_epochs": 5}})
    (update,) = toy.learned(simulator, [1], 1)
    assert update.images == (5 + toy.TRAINING.epochs) * 10


def test_initial_and_shared_tensors_equal_those_of_fedper():
    one, other = toy.simulator("fedrep"), toy.simulator("fedper")
    assert one.state.server.keys() == other.state.server.keys() == {"prompt"}
    assert all(torch.equal(one.state.initial_local[key], other.state.initial_local[key]) for key in HEAD)
    assert create("fedrep").method.personalised
