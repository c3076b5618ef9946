"""fedrod: losses and gradients of both heads, and predictions of seen and held-out clients."""

import numpy as np
import torch
from scipy.special import log_softmax

from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.registry import create
from tests import toy

SHARED = ("prompt", "head.weight", "head.bias")


def job_state(name, client, **settings):
    """The losses [B] of a client whose tensors are drawn at random, their gradients and the tensors."""
    simulator = toy.simulator(name, of=toy.unequal(), settings={"fedrod": settings} if settings else None)
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([client], 1))
    generator = torch.Generator().manual_seed(0)
    state = {key: (value + 0.3 * torch.randn(value.shape, generator=generator)) for key, value in state.items()}
    state = {key: value.detach().requires_grad_() for key, value in state.items()}
    losses = simulator.context.method.loss(simulator.context.vit, batch, state)
    gradients = dict(zip(state, torch.autograd.grad(losses.mean(), list(state.values())), strict=True))
    return losses.detach(), gradients, {key: value.detach() for key, value in state.items()}


def features(client, state):
    """A client's features and labels, and its class counts."""
    simulator = toy.simulator("fedvpt", of=toy.unequal())
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([client], 1))
    assert isinstance(simulator.context.method, FedVPT)
    z = simulator.context.method.feature(simulator.context.vit, batch, state)
    return z.double().numpy(), batch.labels.numpy(), simulator.context.federation.counts[client].astype(float)


def test_the_loss_is_balanced_softmax_and_the_cross_entropy_of_both_heads():
    """Over the two classes that the client holds, and over all four."""
    losses, _, state = job_state("fedrod", 1, gamma=0.5)
    z, labels, counts = features(1, state)
    generic = z @ state["head.weight"][0].double().numpy().T + state["head.bias"][0].numpy()
    personal = z @ state["personal.weight"][0].double().numpy().T + state["personal.bias"][0].numpy()
    assert counts.tolist() == [5, 5, 0, 0]
    balanced = log_softmax(generic[:, :2] + 0.5 * np.log(counts[:2]), 1)
    plain = log_softmax(generic + personal, 1)
    rows = np.arange(len(labels))
    np.testing.assert_allclose(losses, -balanced[rows, labels] - plain[rows, labels], rtol=1e-4, atol=1e-5)


def test_balanced_softmax_weights_classes_by_their_counts():
    """A client of 0, 3, 6 and 6 samples: a class of half as many gets log 2 more of a lead than it needs."""
    losses, _, state = job_state("fedrod:generic", 2)
    z, labels, counts = features(2, state)
    generic = z @ state["head.weight"][0].double().numpy().T + state["head.bias"][0].numpy()
    odds = np.exp(generic) * counts
    np.testing.assert_allclose(losses, -np.log(odds[np.arange(15), labels] / odds.sum(1)), rtol=1e-4, atol=1e-5)


def test_the_personal_loss_trains_neither_prompts_nor_the_generic_head():
    _, both, state = job_state("fedrod", 2)
    _, alone, same = job_state("fedrod:generic", 2)
    for key in SHARED:
        assert torch.equal(state[key], same[key])
        assert torch.equal(both[key], alone[key])
    z, labels, _ = features(2, state)
    scores = z @ (state["head.weight"] + state["personal.weight"])[0].double().numpy().T
    errors = (
        np.exp(log_softmax(scores + (state["head.bias"] + state["personal.bias"])[0].numpy(), 1)) - np.eye(4)[labels]
    )
    np.testing.assert_allclose(both["personal.weight"][0], errors.T @ z / len(z), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(both["personal.bias"][0], errors.mean(0), rtol=1e-3, atol=1e-5)


def test_without_balance_and_personal_head_it_equals_fedvpt_exactly():
    plain = toy.simulator("fedvpt", of=toy.unequal())
    reduced = toy.simulator("fedrod:generic", of=toy.unequal(), settings={"fedrod": {"gamma": 0.0}})
    one, other = plain.run(), reduced.run()
    assert plain.state.server.keys() == reduced.state.server.keys()
    assert all(torch.equal(reduced.state.server[key], value) for key, value in plain.state.server.items())
    assert one.metrics == other.metrics
    assert [row["train_loss"] for row in one.rounds[1:]] == [row["train_loss"] for row in other.rounds[1:]]


def test_personal_heads_do_not_change_averaged_tensors():
    with_one, without = toy.simulator("fedrod", of=toy.unequal()), toy.simulator("fedrod:generic", of=toy.unequal())
    one, other = with_one.run(), without.run()
    assert all(torch.equal(with_one.state.server[key], value) for key, value in without.state.server.items())
    assert one.metrics["held_out"] == other.metrics["held_out"]
    assert (one.upload_bytes, one.download_bytes) == (other.upload_bytes, other.download_bytes)


def test_seen_clients_add_their_personal_head_and_held_out_clients_add_none():
    simulator = toy.ran("fedrod", of=toy.unequal(), rounds=1)
    generic = create("fedrod:generic").method
    for client in range(4):
        (subject,) = simulator.evaluator.tasks(simulator.state, np.array([client]))
        batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([client], 2))
        state = {key: value[None] for key, value in subject.state.items()}
        logits = simulator.context.method.logits(simulator.context.vit, batch, state)
        added = logits - generic.logits(simulator.context.vit, batch, state)
        if client == 3:
            assert not added.any()
            continue
        z, _, _ = features(client, state)
        own = simulator.state.local[client]
        expected = z @ own["personal.weight"].double().numpy().T + own["personal.bias"].numpy()
        np.testing.assert_allclose(added, expected, atol=1e-4)
        assert added.abs().max() > 0.01
