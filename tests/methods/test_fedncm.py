"""FedNCM against class means of all clients' data in one place."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import normalize

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods import registry
from tests import toy


def fedncm(of=None, rounds=2):
    return toy.ran("fedncm", of=of or toy.unequal(), rounds=rounds)


def seen_rows(of):
    return np.concatenate([of.clients[k].train for k in of.seen])


def pooled(of):
    """Unit class means [C, D] of the frozen features of all seen clients' images, class by class."""
    model, rows = toy.vit().model, seen_rows(of)
    with torch.no_grad():
        z = model(torch.from_numpy(toy.dataset().train_x[rows]).permute(0, 3, 1, 2) / 127.5 - 1).numpy()
    labels = toy.dataset().train_y[rows]
    return normalize(np.stack([z[labels == c].mean(0) for c in np.unique(labels)]))


def test_the_head_equals_the_normalised_class_means_of_the_pooled_data():
    simulator = fedncm()
    np.testing.assert_allclose(simulator.state.server["head.weight"], pooled(simulator.context.federation), atol=1e-5)


def test_predictions_are_those_of_the_pooled_closed_form():
    simulator, of = fedncm(), toy.unequal()
    means = pooled(of)
    for row in simulator.outcome.clients:
        rows = of.clients[row["client"]].test
        with torch.no_grad():
            x = torch.from_numpy(toy.dataset().test_x[rows]).permute(0, 3, 1, 2) / 127.5 - 1
            found = (toy.vit().model(x).numpy() @ means.T).argmax(1)
        assert row["accuracy"] == pytest.approx((found == toy.dataset().test_y[rows]).mean())


def test_the_partition_does_not_change_the_head():
    rows = np.arange(60)
    one = fedncm(toy.deal([rows, []], [[0], [1]], held_out=[1]))
    many = fedncm(toy.deal([rows[k::7] for k in range(7)], [[0]] * 7))
    torch.testing.assert_close(one.state.server["head.weight"], many.state.server["head.weight"])


def test_each_client_uploads_the_sums_and_counts_of_its_classes_once():
    """Three clients of 4, 2 and 3 classes; what comes down is the head of zeros that each starts from."""
    dim = toy.vit().dim
    for row in fedncm(rounds=3).outcome.rounds:
        assert row["upload_bytes"] == 4 * (4 + 2 + 3) * (dim + 1)
        assert row["download_bytes"] == 4 * 3 * (4 * dim + 4)


def test_a_class_without_training_samples_is_never_predicted():
    of = toy.deal([toy.rows_of(0, 2), toy.rows_of(2)], [toy.rows_of(1, 3, part="test")] * 2)
    simulator = fedncm(of)
    assert simulator.state.server["head.bias"].tolist() == [0, -torch.inf, 0, -torch.inf]
    for row in simulator.outcome.clients:
        assert row["accuracy"] == 0  # of images of the two classes that nobody holds
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))
    assert set(simulator.context.method.logits(simulator.context.vit, batch, state).argmax(1).tolist()) <= {0, 2}


@pytest.mark.parametrize("name", ["fedncm", "head"])
def test_the_backbone_processes_each_image_once_and_none_in_a_second_run(name, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    data, vit = toy.dataset(), toy.fresh_vit(identity="toy of seed 0")

    def passes():
        parts = (
            Samples(data.train_x, data.train_y, vit, identity="toy:train"),
            Samples(data.test_x, data.test_y, vit, identity="toy:test"),
        )
        streams, protocol = RandomStreams("toy", "toy", 0), RoundSettings(4, 1.0, 1, toy.TRAINING)
        before = vit.layers_run
        Simulator(registry.create(name), vit, *parts, toy.unequal(), streams, protocol).run()
        return (vit.layers_run - before) / vit.depth

    assert [passes(), passes()] == [60 + 30, 0]
