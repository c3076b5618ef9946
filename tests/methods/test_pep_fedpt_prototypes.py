"""The class prototypes of PEP-FedPT: their statistics, the first ones and their updates."""

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.local_training import collect_statistics
from fedprompt.methods import registry
from tests import toy
from tests.methods.test_pep_fedpt import CLASSES, DIM, cls_entering, pep


def test_prototype_statistics_are_sums_and_counts_per_class_of_the_cls_token():
    simulator = pep("gaussian", rounds=1)  # the shared prompt has been trained: it is the received one that counts
    sums = collect_statistics(
        simulator.context.recipe, simulator.context.vit, simulator.context.train, simulator.make_tasks([0, 1, 2], 2)
    )
    for k, client in enumerate(simulator.context.federation.clients[:3]):
        labels = toy.dataset().train_y[client.train]
        z = cls_entering(simulator.state.server["prompt"], client.train, layer=3).numpy()
        held = np.unique(labels)
        assert all(len(value) == len(held) for value in sums[k].values())
        for place, c in enumerate(held):
            own = z[labels == c]
            np.testing.assert_allclose(sums[k]["prototype.sum"][place], own.sum(0), atol=1e-4)
            assert sums[k]["prototype.count"][place].tolist() == [len(own)]
            np.testing.assert_allclose(sums[k]["prototype.square"][place], [(own**2).sum()], rtol=1e-4)


def test_first_prototypes_are_the_class_means_over_all_seen_clients():
    simulator = pep()
    rows = np.concatenate([c.train for c in simulator.context.federation.clients[:3]])  # the last one is held out
    z, labels = cls_entering(simulator.state.server["prompt"], rows, layer=3), toy.dataset().train_y[rows]
    means = torch.stack([z[labels == c].mean(0) for c in range(CLASSES)])
    torch.testing.assert_close(simulator.state.server["prototypes"], means, atol=1e-5, rtol=1e-4)
    assert simulator.state.server["known"].tolist() == [1, 1, 1, 1]


def test_without_a_shared_prompt_prototypes_are_means_of_the_frozen_cls_token():
    simulator = pep(shared_tokens=0)
    assert "prompt" not in simulator.state.server
    rows = np.concatenate([c.train for c in simulator.context.federation.clients[:3]])
    z, labels = cls_entering(torch.zeros(0, DIM), rows, layer=3), toy.dataset().train_y[rows]
    means = torch.stack([z[labels == c].mean(0) for c in range(CLASSES)])
    torch.testing.assert_close(simulator.state.server["prototypes"], means, atol=1e-5, rtol=1e-4)


def test_without_first_prototypes_nothing_travels_before_the_first_round_and_no_class_is_known():
    simulator = pep(first_prototypes=False)
    assert simulator.outcome.upload_bytes == simulator.outcome.download_bytes == 0
    assert simulator.state.server["known"].tolist() == [0, 0, 0, 0]


def test_the_first_class_mean_sets_a_prototype_and_later_ones_are_blended():
    method = registry.create("pep-fedpt", {"pep-fedpt": {"beta": 0.75}}).method
    server = {"prototypes": torch.tensor([[4.0, 8.0], [0, 0], [1, 2]]), "known": torch.tensor([1.0, 0.0, 1.0])}
    sums = torch.tensor([[0.0, 8.0], [3.0, 6.0], [0, 0]])
    counts = torch.tensor([[2.0], [3.0], [0.0]])
    folded = method.apply_statistics(server, {"prototype.sum": sums, "prototype.count": counts})
    # 3/4 of (4, 8) and 1/4 of (0, 4); the mean (1, 2) alone; what was there
    assert folded["prototypes"].tolist() == [[3.0, 7.0], [1.0, 2.0], [1.0, 2.0]]
    assert folded["known"].tolist() == [1, 1, 1]


def test_the_pooled_variance_is_the_mean_square_within_classes_and_blended_too():
    method = registry.create("pep-fedpt:gaussian", {"pep-fedpt": {"beta": 0.75}}).method
    # Class 0 holds (0, 0) and (2, 4), so 1 + 1 + 4 + 4 about its mean; class 1 holds (5, 5) alone; class 2 nothing.
    statistics = {
        "prototype.sum": torch.tensor([[2.0, 4.0], [5.0, 5.0], [0, 0]]),
        "prototype.count": torch.tensor([[2.0], [1.0], [0.0]]),
        "prototype.square": torch.tensor([[20.0], [50.0], [0.0]]),
    }
    nothing = {"prototypes": torch.zeros(3, 2), "known": torch.zeros(3), "variance": torch.ones(())}
    first = method.apply_statistics(nothing, statistics)
    assert float(first["variance"]) == pytest.approx(10 / (3 * 2))
    later = method.apply_statistics({**nothing, "known": torch.ones(3), "variance": torch.tensor(2.0)}, statistics)
    assert float(later["variance"]) == pytest.approx(0.75 * 2 + 0.25 * 10 / 6)
