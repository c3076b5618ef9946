"""Datastores are built for a few clients at a time; their number does not affect scores."""

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.evaluation import datastore, evaluator
from fedprompt.methods.fedvpt import FedVPT
from tests import toy


@pytest.mark.parametrize("limit", [1, 2])
def test_the_number_of_clients_per_group_does_not_change_scores(limit, monkeypatch):
    expected = toy.simulator("knn-per", rounds=1).run()
    monkeypatch.setattr(evaluator, "CLIENTS_AT_ONCE", limit)
    sizes = []

    def with_datastore(context, tasks, held_out):
        sizes.append(len(tasks))
        return datastore.with_datastore(context, tasks, held_out)

    monkeypatch.setattr(evaluator, "with_datastore", with_datastore)
    outcome = toy.simulator("knn-per", rounds=1).run()
    assert max(sizes) == limit
    assert outcome.metrics == expected.metrics
    assert outcome.metrics_prior == expected.metrics_prior
    assert [row["test_knn_share"] for row in outcome.clients] == [row["test_knn_share"] for row in expected.clients]


@pytest.mark.parametrize("tokens", [0, 10**6])  # 16 samples per pass; all in one pass
def test_the_datastore_does_not_depend_on_the_size_of_a_pass(tokens, monkeypatch):
    monkeypatch.setattr("fedprompt.benchmark.simulation.batch.TOKENS_PER_PASS", {"cpu": tokens})
    simulator = toy.simulator("knn-per", of=toy.unequal())
    context, tasks = simulator.context, simulator.evaluator.tasks(simulator.state, np.array([0]))
    (task,) = datastore.with_datastore(context, tasks, held_out=False)
    state = task.state.tensors
    assert state["remembered"].tolist() == [True] * 21
    batch, own = toy.batch_of(context.method, simulator.make_tasks([0], 1))
    assert batch.rows.tolist() == context.federation.clients[0].train.tolist()
    assert isinstance(context.method, FedVPT)
    features = context.method.feature(context.vit, batch, own)
    stored = torch.cat([state["remembered.feature"], state["remembered.label"][:, None]], 1)
    expected = torch.cat([features, batch.labels[:, None]], 1)
    torch.testing.assert_close(stored[stored[:, 0].argsort()], expected[expected[:, 0].argsort()], atol=1e-5, rtol=1e-4)


def test_only_methods_that_declare_a_datastore_have_one():
    assert not datastore.has_datastore(toy.simulator("fedvpt").context.method)
    assert datastore.has_datastore(toy.simulator("knn-per").context.method)
