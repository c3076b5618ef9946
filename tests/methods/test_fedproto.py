"""fedproto: prototypes, the loss towards them, and predictions of seen and held-out clients."""

import numpy as np
import pytest
import torch

from fedprompt.methods import Uploads
from fedprompt.methods.components.prototypes import nearest_head
from fedprompt.methods.fedproto import FedProto
from fedprompt.methods.fedvpt import FedVPT
from tests import toy

CLASSES, DIM = 4, 24


def features(simulator, client, prompt):
    """Features and labels of a client's training images under these prompts."""
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([client], 9))
    assert isinstance(simulator.context.method, FedVPT)
    z = simulator.context.method.feature(simulator.context.vit, batch, {"prompt": prompt[None]})
    return z.double().numpy(), batch.labels.numpy()


def test_prototypes_are_the_means_over_all_samples_of_a_class_under_each_clients_own_prompts():
    simulator = toy.simulator("fedproto", of=toy.unequal(), rounds=1)
    updates = toy.learned(simulator, [0, 1, 2], 1)
    simulator.run()
    found = [features(simulator, update.client, update.local["prompt"]) for update in updates]
    z, labels = (np.concatenate(part) for part in zip(*found, strict=True))
    pooled = np.stack([z[labels == c].mean(0) for c in range(CLASSES)])
    np.testing.assert_allclose(simulator.state.server["prototypes"], pooled, rtol=1e-4, atol=1e-5)
    assert simulator.state.server["known"].tolist() == [1, 1, 1, 1]


def test_a_class_without_samples_in_a_round_keeps_its_prototype():
    server = {"prototypes": torch.arange(6.0).view(3, 2), "known": torch.tensor([1.0, 1.0, 0.0])}
    sums = torch.tensor([[[8.0, 4.0], [0, 0], [0, 0]], [[0.0, 4.0], [0, 0], [0, 0]]])
    counts = torch.tensor([[[3.0], [0], [0]], [[1.0], [0], [0]]])
    uploads = Uploads([0, 1], torch.tensor([3.0, 1.0]), {}, {}, {"prototype.sum": sums, "prototype.count": counts})
    new = FedProto().combine(server, uploads)
    assert new["prototypes"].tolist() == [[2, 2], [2, 3], [4, 5]]  # not [4/3, 8/3], the mean of the clients' means
    assert new["known"].tolist() == [1, 1, 0]


def test_the_loss_adds_the_mean_squared_error_to_known_prototypes():
    simulator = toy.simulator("fedproto", of=toy.unequal(), settings={"fedproto": {"pull": 3.0}})
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))
    generator = torch.Generator().manual_seed(0)
    prototypes, known = torch.randn(1, CLASSES, DIM, generator=generator), torch.tensor([[1.0, 0, 1, 1]])
    plain = simulator.context.method.loss(simulator.context.vit, batch, state)
    pulled = simulator.context.method.loss(
        simulator.context.vit, batch, {**state, "prototypes": prototypes, "known": known}
    )
    z, labels = features(simulator, 0, state["prompt"][0])
    errors = ((z - prototypes[0].numpy()[labels]) ** 2).mean(1) * known[0].numpy()[labels]
    np.testing.assert_allclose(pulled - plain, 3 * errors, rtol=1e-4, atol=1e-5)
    own = FedProto(predicts="head").logits(simulator.context.vit, batch, state)
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(own, batch.labels, reduction="none"))


def test_with_pull_zero_it_equals_local_exactly():
    alone = toy.simulator("local", of=toy.unequal())
    together = toy.simulator("fedproto:head", of=toy.unequal(), settings={"fedproto": {"pull": 0.0}})
    one, other = alone.run(), together.run()
    for client, state in alone.state.local.items():
        assert all(torch.equal(together.state.local[client][key], value) for key, value in state.items())
    assert one.metrics["seen"] == other.metrics["seen"]
    assert [row["train_loss"] for row in one.rounds[1:]] == [row["train_loss"] for row in other.rounds[1:]]


def test_the_prototype_loss_moves_features_towards_their_prototypes():
    errors = []
    for pull in (0.0, 30.0):
        simulator = toy.ran("fedproto", of=toy.unequal(), rounds=3, settings={"fedproto": {"pull": pull}})
        prototypes = simulator.state.server["prototypes"].numpy()
        found = [features(simulator, k, simulator.state.local[k]["prompt"]) for k in range(3)]
        errors.append(np.mean([((z - prototypes[labels]) ** 2).mean() for z, labels in found]))
    assert errors[1] < 0.9 * errors[0]


def test_the_nearest_prototype_head_predicts_the_nearest_known_prototype():
    generator = torch.Generator().manual_seed(0)
    prototypes, z = torch.randn(7, DIM, generator=generator), torch.randn(200, DIM, generator=generator)
    known = torch.tensor([1.0, 1, 0, 1, 1, 0, 1])
    weight, bias = nearest_head(prototypes * known[:, None], known)
    distances = ((z.numpy()[:, None] - prototypes.numpy()) ** 2).sum(2)
    distances[:, known.numpy() == 0] = np.inf
    assert (z @ weight.T + bias).argmax(1).tolist() == distances.argmin(1).tolist()
    assert bias.isfinite().all()


def test_a_class_without_a_prototype_is_predicted_last_and_without_any_prototype_class_0_is_predicted():
    state = {"prompt": torch.zeros(1, 2, DIM), "prototypes": torch.zeros(1, CLASSES, DIM), "known": torch.zeros(1, 4)}
    simulator = toy.simulator("fedproto", of=toy.unequal())
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))
    none = simulator.context.method.logits(simulator.context.vit, batch, state)
    assert none.isfinite().all()
    assert none.argmax(1).unique().tolist() == [0]
    z, _ = features(simulator, 0, state["prompt"][0])
    state["prototypes"][0, :3] = torch.from_numpy(z[:3]).float()
    state["known"][0, :3] = 1
    some = simulator.context.method.logits(simulator.context.vit, batch, state)
    assert some.isfinite().all()
    assert some.argmin(1).unique().tolist() == [3]


@pytest.mark.parametrize("name", ["fedproto", "fedproto:head"])
def test_a_held_out_client_uses_the_nearest_prototype_under_the_initial_prompts(name):
    simulator = toy.ran(name, of=toy.unequal())
    (subject,) = simulator.evaluator.tasks(simulator.state, np.array([3]))
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([3], 9))
    logits = simulator.context.method.logits(
        simulator.context.vit, batch, {key: value[None] for key, value in subject.state.items()}
    )
    z, _ = features(simulator, 3, simulator.state.initial_local["prompt"])
    distances = ((z[:, None] - simulator.state.server["prototypes"].numpy()) ** 2).sum(2)
    assert logits.argmax(1).tolist() == distances.argmin(1).tolist()
    np.testing.assert_allclose(logits, (z**2).sum(1, keepdims=True) / 2 - distances / 2, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["fedproto", "fedproto:head"])
def test_a_seen_client_predicts_with_the_nearest_prototype_or_its_own_head(name):
    simulator = toy.ran(name, of=toy.unequal())
    (subject,) = simulator.evaluator.tasks(simulator.state, np.array([2]))
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([2], 9))
    logits = simulator.context.method.logits(
        simulator.context.vit, batch, {key: value[None] for key, value in subject.state.items()}
    )
    own = simulator.state.local[2]
    z, _ = features(simulator, 2, own["prompt"])
    if name == "fedproto:head":
        expected = z @ own["head.weight"].double().numpy().T + own["head.bias"].numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    else:
        distances = ((z[:, None] - simulator.state.server["prototypes"].numpy()) ** 2).sum(2)
        assert logits.argmax(1).tolist() == distances.argmin(1).tolist()


def test_only_class_sums_and_prototypes_travel():
    """Up: a sum and a count of each of the 4 + 2 + 3 classes held; down: every prototype, and whether it is one."""
    simulator = toy.simulator("fedproto", of=toy.unequal(), rounds=1)
    outcome = simulator.run()
    assert outcome.upload_bytes == 4 * 9 * (DIM + 1)
    assert outcome.download_bytes == 4 * 3 * CLASSES * (DIM + 1)
    assert simulator.state.server.keys() - set(simulator.state.server.private) == {"prototypes", "known"}
