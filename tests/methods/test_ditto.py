"""ditto: fedvpt plus a personal model per client, regularised towards the received model."""

from dataclasses import replace

import pytest
import torch

from fedprompt.benchmark.simulation.local_training import train_clients
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL
from tests import toy

CLIPPED = replace(toy.TRAINING, clip_norm=0.5)


def test_the_proximal_step_by_hand():
    """One step is v - lr (g + lambda (v - w)), and v - lr g with lambda = 0: they differ by lr lambda (v - w)."""
    training = LocalTraining(epochs=1, batch_size=60, lr=0.1, momentum=0.0, weight_decay=0.0)
    ends = []
    for strength in (0.0, 2.0):
        simulator = toy.simulator("ditto", of=toy.unequal(), settings={"ditto": {"strength": strength}})
        (job,) = simulator.make_tasks([0], 1)
        v = {key: value + 0.1 for key, value in job.state.local.items()}
        (update,) = toy.train(
            simulator,
            [replace(job, state=replace(job.state, local=v))],
            training,
        )
        ends.append(update.local)
    for w, own in zip(GLOBAL, PERSONAL, strict=True):
        assert not torch.equal(ends[0][own], v[own])
        expected = ends[0][own] - 0.1 * 2.0 * (v[own] - job.state.shared[w])
        torch.testing.assert_close(ends[1][own], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("training", [toy.TRAINING, CLIPPED])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_averaged_model_equals_that_of_fedvpt_exactly(strength, training):
    arguments = {"of": toy.unequal(), "participation": 2 / 3, "rounds": 3, "training": training}
    ditto = toy.simulator("ditto", settings={"ditto": {"strength": strength}}, **arguments)
    fedvpt = toy.simulator("fedvpt", **arguments)
    one, other = ditto.run(), fedvpt.run()
    assert all(torch.equal(ditto.state.server[key], fedvpt.state.server[key]) for key in GLOBAL)
    assert one.metrics["held_out"] == other.metrics["held_out"]
    assert (one.upload_bytes, one.download_bytes) == (other.upload_bytes, other.download_bytes)


@pytest.mark.parametrize("training", [toy.TRAINING, CLIPPED])
def test_with_strength_zero_personal_models_equal_local_exactly(training):
    arguments = {"of": toy.unequal(), "participation": 2 / 3, "rounds": 3, "training": training}
    ditto = toy.simulator("ditto", settings={"ditto": {"strength": 0.0}}, **arguments)
    local = toy.simulator("local", **arguments)
    one, other = ditto.run(), local.run()
    assert ditto.state.local.keys() == local.state.local.keys()
    for client, state in local.state.local.items():
        for name, own in zip(GLOBAL, PERSONAL, strict=True):
            assert torch.equal(ditto.state.local[client][own], state[name])
    assert one.metrics["seen"] == other.metrics["seen"]


def test_the_phases_are_independent_and_their_order_does_not_matter():
    simulator = toy.simulator("ditto", of=toy.unequal())
    (job,) = simulator.make_tasks([0], 1)
    (own, of_all), arguments = (
        simulator.context.method.phases(),
        (simulator.context.recipe, simulator.context.vit, simulator.context.train, [job]),
    )
    (both,) = train_clients(*arguments, toy.TRAINING)
    (first,), (second,) = (train_clients(*arguments, toy.TRAINING, (phase,)) for phase in (own, of_all))
    (turned,) = train_clients(*arguments, toy.TRAINING, (of_all, own))
    assert all(torch.equal(first.shared[key], job.state.shared[key]) for key in GLOBAL)
    assert all(torch.equal(second.local[key], job.state.local[key]) for key in PERSONAL)
    assert all(torch.equal(both.local[key], first.local[key]) for key in PERSONAL)
    for update in (second, turned):
        assert all(torch.equal(update.shared[key], both.shared[key]) for key in GLOBAL)


def test_the_personal_model_may_train_for_epochs_of_its_own():
    simulator = toy.simulator("ditto", of=toy.unequal(), settings={"ditto": {"personal_epochs": 5}})
    (update,) = toy.learned(simulator, [1], 1)
    assert update.images == (5 + toy.TRAINING.epochs) * 10
