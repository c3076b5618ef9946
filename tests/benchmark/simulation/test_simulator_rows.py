"""Rounds of methods with a row per class, and of those without training."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation import evaluator as judges
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Kind
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.scoring import score
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods import registry
from fedprompt.methods.base import Phase, State
from fedprompt.methods.base import Streams as Generators
from tests import toy
from tests.benchmark.simulation.test_simulator import ONE_STEP, TARGET, Own, Pull, simulate, three_clients


class Table(Pull):
    """A row of two parameters per class, pulled by the samples of its class alone; and a sum per class travels once."""

    class_rows = ("table", "sum")
    initial_statistics = True

    def shared(self, vit: FrozenViT, rng: Generators) -> State:  # type: ignore[override]
        return {"table": torch.zeros(4, 2)}

    def memory(self, vit: FrozenViT, rng: Generators) -> State:  # type: ignore[override]
        return {"total": torch.zeros(4, 1)}

    def rows(self, batch: Batch, state: State) -> Tensor:
        """Each sample's row [B, 2]."""
        place = (batch.own(batch.classes) == batch.labels.unsqueeze(1)).float().argmax(1)
        return batch.own(state["table"])[torch.arange(len(place)), place]

    def loss(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        target = torch.from_numpy(TARGET).float()[batch.labels]
        return (self.rows(batch, state) - target).square().sum(1) / 2

    def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        return torch.zeros(len(batch.labels), 4)

    def statistics(self, vit: FrozenViT, batch: Batch, state: State) -> State:  # type: ignore[override]
        return {"sum": batch.class_sums(torch.ones(len(batch.labels), 1))}

    def apply_statistics(self, server: State, statistics: State) -> State:
        return {"total": server["total"] + statistics["sum"]}


@pytest.mark.parametrize("executor", ["sequential", "fused"])
def test_rows_of_a_class_are_averaged_with_what_the_server_holds_for_clients_without_it(executor: Kind) -> None:
    """Against a dense average in numpy, in which a client leaves rows of absent classes as they were."""
    federation = three_clients()
    no_decay = replace(ONE_STEP, weight_decay=0.0)
    run = simulate(Table(), federation, rounds=2, training=no_decay, executor=executor)
    run.run()
    table = np.zeros((4, 2))
    for _ in range(2):
        ends = []
        for client in federation.clients:
            labels, own = toy.dataset().train_y[client.train], table.copy()
            velocity = np.zeros((4, 2))
            for _ in range(no_decay.epochs):
                share = np.bincount(labels, minlength=4)[:, None] / len(labels)
                velocity = no_decay.momentum * velocity + share * (own - TARGET)
                own = own - no_decay.lr * velocity
            ends.append(own)
        table = (8 * ends[0] + 4 * ends[1] + 8 * ends[2]) / 20
    np.testing.assert_allclose(run.state.server["table"].numpy(), table, rtol=1e-5)
    assert run.state.server["table"][3].tolist() == [0, 0]  # of the class that nobody holds
    assert run.state.server["total"][:, 0].tolist() == [3 * 8, 3 * 2, 3 * 10, 0]  # before round 1 and in both rounds
    held = [1, 2, 1]
    assert run.outcome.upload_bytes == sum(n * (4 + 2 * (8 + 4)) for n in held)
    assert run.outcome.download_bytes == sum(3 * (n * 8 + 16) for n in held)


class Free(Own):
    """Nothing trains; what a client starts from is all there is."""

    def phases(self) -> tuple[Phase, ...]:
        return ()


def test_rounds_pass_a_training_free_method_by(monkeypatch: pytest.MonkeyPatch) -> None:
    run = simulate(Free(shift=5.0), three_clients(), rounds=3)
    calls: list[int] = []
    monkeypatch.setattr(judges, "score", lambda *a: (calls.append(1), score(*a))[1])
    outcome = run.run()
    assert len(calls) == 1  # nothing changes, so nothing is scored again
    assert [row["round"] for row in outcome.rounds] == [0, 1, 2, 3]
    assert len({row["seen_mean"] for row in outcome.rounds}) == 1
    assert all(math.isnan(row["train_loss"]) for row in outcome.rounds)
    assert outcome.images == outcome.upload_bytes == outcome.never_trained == 0
    assert {row["rounds_trained"] for row in outcome.clients} == {0}
    assert run.executor.summary()["used"] == "none: nothing is trained"


def test_passes_of_the_backbone_are_counted_in_whole_images() -> None:
    """head reads each image's frozen feature once, over however many rounds: of 60 training and 30 test images."""
    vit = toy.fresh_vit()
    data = toy.dataset()
    parts = [Samples(x, y, vit) for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y))]
    recipe = registry.create("head")
    run = Simulator(
        recipe, vit, *parts, toy.federation(), RandomStreams("toy", "toy", 0), RoundSettings(4, 1.0, 1, ONE_STEP)
    )
    assert run.run().backbone_passes == 60 + 30
