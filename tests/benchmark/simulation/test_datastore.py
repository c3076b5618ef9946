"""What clients remember is made for a few at a time, which changes no score."""

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation import datastore, evaluator
from fedprompt.methods.fedvpt import FedVPT
from tests import toy


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_how_many_clients_remember_at_a_time_changes_no_score(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = toy.simulator("knn-per", rounds=1)
    expected = whole.run()
    monkeypatch.setattr(evaluator, "CLIENTS_AT_ONCE", at_a_time)
    held = []

    def counted(context, tasks, held_out):  # type: ignore[no-untyped-def]
        held.append(len(tasks))
        return datastore.with_datastore(context, tasks, held_out)

    monkeypatch.setattr(evaluator, "with_datastore", counted)
    found = toy.simulator("knn-per", rounds=1).run()
    assert max(held) == at_a_time
    assert found.metrics == expected.metrics
    assert found.metrics_prior == expected.metrics_prior
    assert [row["test_knn_share"] for row in found.clients] == [row["test_knn_share"] for row in expected.clients]


@pytest.mark.parametrize("tokens_a_pass", [0, 10**6])  # 16 samples a pass, and all of them
def test_samples_remembered_in_several_passes_are_those_of_one(
    tokens_a_pass: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedprompt.benchmark.simulation.batch.TOKENS_PER_PASS", {"cpu": tokens_a_pass})
    simulator = toy.simulator("knn-per", of=toy.unequal())
    (subject,) = datastore.with_datastore(
        simulator.context, simulator.evaluator.tasks(simulator.state, np.array([0])), held_out=False
    )
    own = torch.from_numpy(simulator.context.federation.clients[0].train)
    assert subject.state.tensors["remembered"].tolist() == [True] * 21
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))
    assert batch.rows.tolist() == own.tolist()
    assert isinstance(simulator.context.method, FedVPT)
    z = simulator.context.method.feature(simulator.context.vit, batch, state)
    found, pairs = subject.state.tensors["remembered.feature"], torch.cat([z, batch.labels[:, None]], 1)
    found = torch.cat([found, subject.state.tensors["remembered.label"][:, None]], 1)
    torch.testing.assert_close(found[found[:, 0].argsort()], pairs[pairs[:, 0].argsort()], atol=1e-5, rtol=1e-4)


def test_only_methods_that_say_so_remember() -> None:
    simulator = toy.simulator("fedvpt")
    assert not datastore.has_datastore(simulator.context.method)
    assert datastore.has_datastore(toy.simulator("knn-per").context.method)
