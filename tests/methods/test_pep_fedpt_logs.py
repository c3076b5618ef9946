import numpy as np
import pytest
import torch

from tests.methods.test_pep_fedpt import CLASSES, ONE_STEP, pep


def test_entropy_and_accuracies_of_the_weights_are_logged():
    """With the prior as weights they follow from the class counts: 6, 5, 5, 5, then 5, 5, then 3, 6, 6."""
    simulator = pep("prior", rounds=1, training=ONE_STEP)
    row = simulator.outcome.rounds[1]
    counts = [np.array([6, 5, 5, 5]), np.array([5, 5]), np.array([3, 6, 6])]
    entropies = [-(n / n.sum() * np.log(n / n.sum())).sum() for n in counts]
    assert row["train_mix_entropy"] == pytest.approx(np.mean(entropies), abs=1e-5)
    largest = np.mean([6 / 21, 5 / 10, 6 / 15])
    assert row["train_mix_accuracy"] == row["train_prior_accuracy"] == pytest.approx(largest, abs=1e-6)


@pytest.mark.parametrize("mixing", ["prior", "uniform"])
def test_the_weights_are_recorded_by_true_class_of_the_seen_clients_test_samples(mixing):
    """A sample's weights are its client's class shares under `prior`, in the places of all classes."""
    simulator = pep(mixing, rounds=1, training=ONE_STEP)
    clients, counts = simulator.context.federation.clients, simulator.context.federation.counts
    kept: list[list[np.ndarray]] = [[] for _ in range(CLASSES)]
    for k in simulator.context.federation.seen:
        share = counts[k] / counts[k].sum() if mixing == "prior" else np.full(CLASSES, 1 / CLASSES)
        for label in simulator.context.test.labels[torch.from_numpy(clients[k].test)].tolist():
            kept[label].append(share)
    expected = [np.mean(own, axis=0).tolist() if own else [None] * CLASSES for own in kept]
    found = simulator.outcome.by_class["mix_weights"]
    assert len(found) == CLASSES
    for row, mean in zip(found, expected, strict=True):
        assert row == (mean if mean[0] is None else pytest.approx(mean, abs=6e-5))  # four places are kept


def test_the_recorded_weights_are_those_of_the_last_evaluation():
    """Under the oracle each class has its own weight alone, whatever was kept before."""
    simulator = pep("oracle", rounds=2)
    for label, row in enumerate(simulator.outcome.by_class["mix_weights"]):
        assert row == [float(label == c) for c in range(CLASSES)] or row == [None] * CLASSES
    simulator.outcome.by_class = {}
    simulator.evaluator.evaluate(simulator.state, simulator.outcome, {}, last=False)
    assert simulator.outcome.by_class == {}
    simulator.evaluator.evaluate(simulator.state, simulator.outcome, {}, last=True)
    assert simulator.outcome.by_class
