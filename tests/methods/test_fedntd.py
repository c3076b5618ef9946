"""fedntd: the divergence among other classes, and whose logits it compares."""

import pytest
import torch
from torch.nn import functional

from fedprompt.methods.fedntd import not_true_divergence
from tests import toy


def test_the_divergence_compares_the_classes_other_than_the_label():
    """By hand, label 1 of three: targets 3/4 and 1/4, own 1/2 and 1/2: log(3/2) 3/4 + log(1/2) 1/4."""
    received = torch.tensor([[3.0, 70.0, 1.0], [1.0, 1.0, 9.0]]).log()
    own = torch.tensor([[1.0, 1e-6, 1.0], [2.0, 2.0, 5.0]]).log()
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    found = not_true_divergence(own, received, torch.tensor([1, 2]))
    torch.testing.assert_close(found, torch.stack([expected, torch.tensor(0.0)]), atol=1e-6, rtol=1e-6)


def test_the_loss_adds_the_divergence_from_the_received_model_at_the_temperature():
    simulator = toy.simulator("fedntd", of=toy.unequal(), settings={"fedntd": {"beta": 3.0, "temperature": 2.0}})
    method, vit = simulator.context.method, simulator.context.vit
    batch, state = toy.batch_of(method, simulator.make_tasks([0], 1))
    alone = method.loss(vit, batch, state)
    logits = method.logits(vit, batch, state)
    torch.testing.assert_close(alone, functional.cross_entropy(logits, batch.labels, reduction="none"))
    batch.received = {**state, "prompt": state["prompt"] + 0.3, "head.weight": -2 * state["head.weight"]}
    other = method.logits(vit, batch, batch.received)
    expected = 3 * not_true_divergence(logits / 2, other / 2, batch.labels)
    torch.testing.assert_close(method.loss(vit, batch, state) - alone, expected, atol=1e-5, rtol=1e-4)
    assert expected.min() > 0


@pytest.mark.parametrize("executor", ["sequential", "fused"])
def test_training_diverges_less_from_the_received_model_than_fedvpt_does_and_without_a_weight_it_is_fedvpt(executor):
    ends, divergences = [], []
    for name, settings in (("fedvpt", {}), ("fedntd", {"beta": 0.0}), ("fedntd", {"beta": 2.0})):
        simulator = toy.simulator(name, of=toy.unequal(), settings={name: settings})
        method, vit = simulator.context.method, simulator.context.vit
        (update, *_) = toy.learned(simulator, [0, 1, 2], 1, executor)
        batch, state = toy.batch_of(method, simulator.make_tasks([0], 1))
        ends.append(update.shared["head.weight"])
        logits = method.logits(vit, batch, {key: value[None] for key, value in update.shared.items()})
        divergences.append(not_true_divergence(logits, method.logits(vit, batch, state), batch.labels).mean())
    assert torch.equal(ends[0], ends[1])
    assert divergences[2] < 0.8 * divergences[1]
