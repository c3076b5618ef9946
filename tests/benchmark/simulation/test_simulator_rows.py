"""Rounds of methods with class rows, and of methods without training."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.evaluation import evaluator
from fedprompt.benchmark.simulation.evaluation.scoring import score
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods import registry
from tests import toy
from tests.benchmark.simulation.test_simulator import ONE_STEP, TARGETS, LocalPull, Pull, simulate, three_clients


class Table(Pull):
    """Two parameters per class, trained only on samples of the class; clients also upload a count per class."""

    class_rows = ("table", "sum")
    initial_statistics = True

    def shared(self, vit, rng):
        return {"table": torch.zeros(4, 2)}

    def memory(self, vit, rng):
        return {"total": torch.zeros(4, 1)}

    def loss(self, vit, batch, state):
        place = (batch.own(batch.classes) == batch.labels.unsqueeze(1)).float().argmax(1)
        rows = batch.own(state["table"])[torch.arange(len(place)), place]
        return (rows - torch.from_numpy(TARGETS).float()[batch.labels]).square().sum(1) / 2

    def logits(self, vit, batch, state):
        return torch.zeros(len(batch.labels), 4)

    def statistics(self, vit, batch, state):
        return {"sum": batch.class_sums(torch.ones(len(batch.labels), 1))}

    def apply_statistics(self, server, statistics):
        return {"total": server["total"] + statistics["sum"]}


@pytest.mark.parametrize("executor", ["sequential", "fused"])
def test_averaging_class_rows_uses_the_servers_rows_for_clients_without_the_class(executor):
    """The reference averages full tables in NumPy; a client leaves the rows of absent classes unchanged."""
    federation, training = three_clients(), replace(ONE_STEP, weight_decay=0.0)
    run = simulate(Table(), federation, rounds=2, training=training, executor=executor)
    run.run()
    table = np.zeros((4, 2))
    for _ in range(2):
        ends = []
        for counts in federation.counts:
            own, velocity = table.copy(), np.zeros((4, 2))
            for _ in range(training.epochs):
                velocity = training.momentum * velocity + (counts / counts.sum())[:, None] * (own - TARGETS)
                own = own - training.lr * velocity
            ends.append(own)
        table = (8 * ends[0] + 4 * ends[1] + 8 * ends[2]) / 20
    np.testing.assert_allclose(run.state.server["table"].numpy(), table, rtol=1e-5)
    assert run.state.server["table"][3].tolist() == [0, 0]  # no client has this class
    assert run.state.server["total"][:, 0].tolist() == [3 * 8, 3 * 2, 3 * 10, 0]  # before round 1 and in both rounds
    classes = [1, 2, 1]
    assert run.outcome.upload_bytes == sum(n * (4 + 2 * (8 + 4)) for n in classes)
    assert run.outcome.download_bytes == sum(3 * (n * 8 + 16) for n in classes)


class TrainingFree(LocalPull):
    """LocalPull without training."""

    def phases(self):
        return ()


def test_rounds_of_a_training_free_method_change_and_cost_nothing(monkeypatch):
    run = simulate(TrainingFree(shift=5.0), three_clients(), rounds=3)
    calls: list[int] = []
    monkeypatch.setattr(evaluator, "score", lambda *a: (calls.append(1), score(*a))[1])
    outcome = run.run()
    assert len(calls) == 2  # nothing changes, so clients are scored once, and once more for the personalised score
    assert [row["round"] for row in outcome.rounds] == [0, 1, 2, 3]
    assert len({row["seen_mean"] for row in outcome.rounds}) == 1
    assert all(math.isnan(row["train_loss"]) for row in outcome.rounds)
    assert outcome.images["train"] == outcome.upload_bytes == outcome.never_trained == 0
    assert {row["rounds_trained"] for row in outcome.clients} == {0}
    assert run.executor.summary()["used"] == "none: nothing is trained"


@pytest.mark.parametrize("executor", ["sequential", "threaded", "fused"])
def test_passes_are_those_that_the_method_needs_however_they_are_computed(executor):
    """`head` reads one frozen feature of each image, from a cache or not."""
    federation, passes = toy.unequal(), []
    sizes = [len(client.train) for client in federation.clients]
    tests = sum(len(client.test) for client in federation.clients)
    for vit in (
        toy.fresh_vit(),
        toy.fresh_vit(identity="passes"),
        toy.fresh_vit(identity="passes"),
    ):  # the last: cached
        data = toy.dataset()
        train = Samples(data.train_x, data.train_y, vit, identity="train")
        test = Samples(data.test_x, data.test_y, vit, identity="test")
        streams, settings = RandomStreams("toy", "toy", 0), RoundSettings(4, 1.0, 1, ONE_STEP)
        run = Simulator(registry.create("head"), vit, train, test, federation, streams, settings, Executor(executor, 2))
        passes.append({name: layers / vit.depth for name, layers in run.run().layers.items()})
    expected = {
        "train": 4 * 2 * sum(sizes[:3]),
        "fine_tuning": 0,
        "evaluate": 5 * tests,
        "calibrate": sum(sizes[:3]),
        "personal": sum(sizes) + tests,
    }
    assert passes == [expected] * 3


def test_a_method_that_prompts_the_input_needs_all_layers_of_every_sample_and_none_of_padding():
    runs = [toy.simulator("fedvpt", of=toy.unequal(), executor=executor) for executor in ("sequential", "fused")]
    one, other = (run.run().layers for run in runs)
    assert one == other
    assert one["train"] == 2 * 2 * (21 + 10 + 15) * toy.vit().depth
