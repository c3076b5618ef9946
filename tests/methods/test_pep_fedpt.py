from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.simulation.batch import Clients
from fedprompt.benchmark.simulation.evaluation.scoring import score
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods import MethodError, pep_fedpt, registry
from fedprompt.methods.components.prompts import insert_after_cls
from tests import toy

DIM, CLASSES = 24, toy.CLASSES
TRAINING = LocalTraining(epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.1)
ONE_STEP = LocalTraining(epochs=1, batch_size=60, lr=0.1, momentum=0.9, weight_decay=0.1)


def pep(variant="", rounds=0, training=TRAINING, of=None, **fields):
    """PEP-FedPT after so many rounds; none still gathers the first prototypes."""
    name = f"pep-fedpt:{variant}" if variant else "pep-fedpt"
    federation = of or toy.unequal()
    return toy.ran(name, of=federation, rounds=rounds, training=training, settings={"pep-fedpt": fields})


def logits_and_state(simulator, jobs, names):
    """Logits of the jobs' clients on all their rows, and the state behind them, where `names` take gradients."""
    batch, state = toy.batch_of(simulator.context.method, jobs)
    state = {key: value.clone().requires_grad_(key in names) for key, value in state.items()}
    return simulator.context.method.logits(simulator.context.vit, batch, state), batch, state


def gradient(simulator, name, client):
    """The gradient of a client's mean loss in one of its tensors."""
    logits, batch, state = logits_and_state(simulator, simulator.make_tasks([client], 1), (name,))
    loss = functional.cross_entropy(logits, batch.labels)
    return torch.autograd.grad(loss, state[name])[0][0]


@pytest.fixture
def mixed(monkeypatch):
    """Every prompt that is put in beside cls, in order: the shared and the mixed one in turns."""
    seen: list[Tensor] = []

    def spy(x, prompts):
        seen.append(prompts.detach())
        return insert_after_cls(x, prompts)

    monkeypatch.setattr("fedprompt.methods.pep_fedpt.insert_after_cls", spy)
    return seen


@pytest.mark.parametrize(("depth", "layer"), [(2, 2), (4, 3), (6, 4), (8, 5), (12, 7), (24, 13)])
def test_the_mixed_prompt_enters_after_the_middle_layer(depth, layer):
    method = registry.create("pep-fedpt").method
    assert isinstance(method, pep_fedpt.PEPFedPT)
    assert method.insertion(toy.fresh_vit(depth)) == layer


@pytest.mark.parametrize(("depth", "share", "layer"), [(6, 0.17, 2), (6, 0.83, 6), (12, 0.83, 11), (12, 0.5, 7)])
def test_the_layer_can_be_a_share_of_the_depth(depth, share, layer):
    assert pep_fedpt.PEPFedPT(depth_share=share).insertion(toy.fresh_vit(depth)) == layer


@pytest.mark.parametrize(("share", "layer"), [(0.0, 1), (1.0, 5)])
def test_a_share_that_gives_no_layer_is_refused(share, layer):
    message = rf"pep-fedpt\.layer={layer} \(depth_share={share}\) is out of range: this backbone takes 2 to 4"
    with pytest.raises(MethodError, match=message):
        pep(depth_share=share)


def test_a_layer_and_a_share_of_the_depth_are_refused_together():
    with pytest.raises(MethodError, match=r"pep-fedpt\.layer=3 and depth_share=0\.5: set one of the two"):
        pep(depth_share=0.5, layer=3)


def test_class_prompts_can_have_a_learning_rate_of_their_own():
    """After one step without momentum, only the class prompts move as far as their rate says."""
    training = LocalTraining(epochs=1, batch_size=100, lr=0.1, momentum=0.0, weight_decay=0.0)

    def moved(**settings):
        run = toy.simulator(
            "pep-fedpt", of=toy.unequal(), rounds=1, training=training, settings={"pep-fedpt": settings}
        )
        before = {name: value.clone() for name, value in run.state.server.shared.items()}
        run.run()
        return {name: value - before[name] for name, value in run.state.server.shared.items()}

    usual, faster = moved(), moved(class_lr=0.3)
    for name, change in usual.items():
        factor = 3 if name == "class_prompts" else 1
        torch.testing.assert_close(faster[name], factor * change, rtol=1e-3, atol=1e-6)
    same = moved(class_lr=0.1)
    assert all(torch.equal(same[name], change) for name, change in usual.items())


@pytest.mark.parametrize("layer", [5, 12])
def test_a_layer_that_the_backbone_lacks_is_refused(layer):
    with pytest.raises(MethodError, match=rf"pep-fedpt\.layer={layer} is out of range: this backbone takes 2 to 4"):
        pep(layer=layer)


def test_the_mixed_prompt_cannot_enter_the_first_layer():
    with pytest.raises(MethodError, match=r"pep-fedpt\.layer=1 is out of range: it must be at least 2"):
        pep(layer=1)


@pytest.mark.parametrize("layer", [2, 3, 4])
def test_the_sequence_grows_by_the_class_tokens_at_the_layer_named(layer):
    simulator, lengths = pep(layer=layer, shared_tokens=5, class_tokens=2), list[int]()
    hooks = [
        block.norm1.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
        for block in simulator.context.vit.model.blocks
    ]
    logits_and_state(simulator, simulator.make_tasks([0], 1), ())
    for hook in hooks:
        hook.remove()
    assert lengths == [17 + 5 if j < layer else 17 + 5 + 2 for j in (1, 2, 3, 4)]  # 16 patches and cls


def test_a_client_of_one_class_always_gets_the_prompt_of_that_class(mixed):
    of = toy.deal([toy.rows_of(2), toy.rows_of(0, 1, 2, 3)], [[0], [1]])
    simulator = pep(of=of, class_tokens=2)
    logits_and_state(simulator, simulator.make_tasks([0], 1), ())
    expected = simulator.state.server["class_prompts"][2].expand(15, 2, DIM)
    torch.testing.assert_close(mixed[-1], expected, atol=0, rtol=0)


def test_a_uniform_prior_at_infinite_temperature_gives_the_plain_mean_of_the_class_prompts(mixed):
    simulator = pep(of=toy.deal([np.arange(60), np.arange(60)], [[0], [1]]), tau=1e8)
    logits_and_state(simulator, simulator.make_tasks([0], 1), ())
    mean = simulator.state.server["class_prompts"].mean(0)
    torch.testing.assert_close(mixed[-1], mean.expand(60, 1, DIM), atol=1e-6, rtol=0)


def test_the_mixed_prompt_is_the_sum_of_class_prompts_by_their_weights(mixed):
    simulator = pep(class_tokens=3)
    jobs = simulator.make_tasks([0, 1], 1)
    _, batch, state = logits_and_state(simulator, jobs, ())
    found = mixed[-1]
    assert isinstance(simulator.context.method, pep_fedpt.PEPFedPT)
    z = simulator.context.method.tokens(simulator.context.vit, batch, state)[:, 0]
    weights, prompts = simulator.context.method.weights(batch, z, state), simulator.state.server["class_prompts"]
    expected = sum(weights[:, c].view(-1, 1, 1) * prompts[c] for c in range(CLASSES))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", ["", "hard", "prior", "cosine", "gaussian"])
@pytest.mark.parametrize(("client", "present"), [(1, [0, 1]), (2, [1, 2, 3])])
def test_a_client_receives_and_trains_only_the_prompts_of_its_own_classes(variant, client, present):
    simulator = pep(variant)
    (job,) = simulator.make_tasks([client], 1)
    _, state = toy.batch_of(simulator.context.method, [job])
    for name in {"class_prompts", "prototypes", "known"} & state.keys():
        assert torch.equal(state[name][0], simulator.state.server[name][present])
    (update,) = toy.learned(simulator, [client], 1)
    before, after = simulator.state.server["class_prompts"][present], update.shared["class_prompts"]
    assert after.shape == before.shape
    assert update.classes.tolist() == present
    if variant != "hard":  # which may pass a class over
        assert gradient(simulator, "class_prompts", client).flatten(1).ne(0).any(1).all()
        assert after.ne(before).flatten(1).any(1).all()
    assert not torch.equal(update.shared["head.weight"], simulator.state.server["head.weight"])


def test_prompts_of_classes_without_samples_in_the_cohort_are_unchanged():
    """Nor does weight decay shrink them; those of the others are averaged with what the rest left untouched."""
    of = toy.deal([toy.rows_of(0)[:5], toy.rows_of(0, 1), toy.rows_of(3)], [[0]] * 3, held_out=[2])
    start, simulator = pep(of=of).state.server.tensors, pep(of=of, rounds=1)
    after, before = simulator.state.server["class_prompts"], start["class_prompts"]
    torch.testing.assert_close(after[2:], before[2:], atol=1e-8, rtol=1e-6)
    assert torch.equal(simulator.state.server["prototypes"][2:], start["prototypes"][2:])
    first, second = toy.learned(pep(of=of), [0, 1], 1)
    weights = np.array([5, 30]) / 35
    zero, one = second.shared["class_prompts"]
    torch.testing.assert_close(after[0], weights[0] * first.shared["class_prompts"][0] + weights[1] * zero)
    torch.testing.assert_close(after[1], weights[0] * before[1] + weights[1] * one)


def dense_logits(simulator, client):
    """What one client predicts by weights over all classes, as the paper's equations have them."""
    server, method = simulator.state.server.tensors, simulator.context.method
    assert isinstance(method, pep_fedpt.PEPFedPT)
    rows = simulator.context.federation.clients[client].train
    prior = torch.from_numpy(simulator.context.federation.counts[client] / len(rows)).float()
    prior = torch.full_like(prior, 1 / CLASSES) if method.mixing in ("prototype", "uniform") else prior
    images = torch.from_numpy(toy.dataset().train_x[rows]).permute(0, 3, 1, 2) / 127.5 - 1
    model = toy.vit().model
    x = model._pos_embed(model.patch_embed(images))
    x = torch.cat([x[:, :1], server["prompt"].expand(len(x), -1, -1), x[:, 1:]], dim=1)
    x = model.blocks[1](model.blocks[0](x))
    likelihood = torch.ones(len(x), CLASSES)
    if method.mixing not in ("prior", "uniform"):
        mu, z = server["prototypes"], x[:, 0]
        if method.similarity == "gaussian":
            likelihood = (-torch.cdist(z, mu).square() / (2 * server["variance"])).softmax(1)
        else:
            centre = mu.mean(0) if method.similarity == "centred-cosine" else torch.zeros(DIM)
            likelihood = (functional.cosine_similarity(z[:, None] - centre, mu - centre, dim=2) / 0.1).softmax(1)
    weights = likelihood * prior
    weights = weights / weights.sum(1, keepdim=True)
    if method.mixing == "hard":
        weights = functional.one_hot(weights.argmax(1), CLASSES).float()
    prompt = torch.einsum("bc,cnd->bnd", weights, server["class_prompts"])
    x = model.blocks[3](model.blocks[2](torch.cat([x[:, :1], prompt, x[:, 1:]], dim=1)))
    return model.norm(x)[:, 0] @ server["head.weight"].T + server["head.bias"]


@pytest.mark.parametrize("variant", ["", "hard", "prior", "prototype", "uniform", "cosine", "gaussian"])
def test_rows_of_the_clients_classes_give_the_same_logits_as_all_rows(variant):
    simulator = pep(variant, rounds=1)
    logits, batch, _ = logits_and_state(simulator, simulator.make_tasks([0, 1, 2], 2), ())
    for client, (own, real) in enumerate(zip(logits.view(3, 21, -1), batch.mask.view(3, 21), strict=True)):
        torch.testing.assert_close(own[real], dense_logits(simulator, client), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", ["prototype", "uniform", "oracle"])
def test_a_rule_that_does_not_read_the_prior_needs_the_rows_of_every_class(variant):
    simulator = pep(variant)
    (job,) = simulator.make_tasks([1], 1)
    _, state = toy.batch_of(simulator.context.method, [job])
    assert torch.equal(state["class_prompts"][0], simulator.state.server["class_prompts"])
    (update,) = toy.learned(simulator, [1], 1)
    assert update.shared["class_prompts"].shape == (CLASSES, 1, DIM)


def test_a_class_without_a_prototype_gets_no_weight_if_another_class_has_one():
    simulator = pep()
    simulator.state.server = simulator.state.server.updated({"known": torch.tensor([1.0, 0.0, 1.0, 1.0])})
    rows = gradient(simulator, "class_prompts", 0).flatten(1)
    assert rows.ne(0).any(1).tolist() == [True, False, True, True]


def test_gradients_flow_through_the_mixing_weights_only_if_enabled():
    stopped, flowing = pep(), pep(weights_gradient=True)
    torch.testing.assert_close(gradient(stopped, "class_prompts", 0), gradient(flowing, "class_prompts", 0))
    assert not torch.allclose(gradient(stopped, "prompt", 0), gradient(flowing, "prompt", 0), rtol=1e-3, atol=0)


def cls_entering(prompt, rows, layer, part="train"):
    """The cls token entering `layer`, image by image through timm's own modules."""
    pixels = getattr(toy.dataset(), f"{part}_x")[rows]
    model, images = toy.vit().model, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    tokens = []
    for image in images:
        x = model._pos_embed(model.patch_embed(image[None]))
        x = torch.cat([x[:, :1], prompt[None], x[:, 1:]], dim=1)
        for block in list(model.blocks)[: layer - 1]:
            x = block(x)
        tokens.append(x[0, 0])
    return torch.stack(tokens)


class Central:
    """PEP-FedPT as one model on one data set: timm's modules, torch's SGD, no client, no server."""

    def __init__(self, start, rows):
        self.p = {key: start[key].clone().requires_grad_() for key in ("prompt", "class_prompts")}
        self.w, self.b = start["head.weight"].clone().requires_grad_(), start["head.bias"].clone().requires_grad_()
        self.rows, self.labels = rows, torch.from_numpy(toy.dataset().train_y[rows])
        self.shares = torch.bincount(self.labels, minlength=CLASSES) / len(rows)
        self.mu = self.means()

    def means(self):
        z = cls_entering(self.p["prompt"], self.rows, 3).detach()
        return torch.stack([z[self.labels == c].mean(0) for c in range(CLASSES)])

    def logits(self):
        model = toy.vit().model
        images = torch.from_numpy(toy.dataset().train_x[self.rows]).permute(0, 3, 1, 2) / 127.5 - 1
        x = model._pos_embed(model.patch_embed(images))
        x = torch.cat([x[:, :1], self.p["prompt"].expand(len(x), -1, -1), x[:, 1:]], dim=1)
        x = model.blocks[1](model.blocks[0](x))
        centre = self.mu.mean(0)
        cosine = functional.cosine_similarity(x[:, :1].detach() - centre, (self.mu - centre)[None], dim=2)
        likelihood = (cosine / 0.1).exp() * self.shares
        weights = likelihood / likelihood.sum(1, keepdim=True)
        prompt = torch.einsum("bc,cnd->bnd", weights, self.p["class_prompts"])
        x = model.blocks[3](model.blocks[2](torch.cat([x[:, :1], prompt, x[:, 1:]], dim=1)))
        return model.norm(x)[:, 0] @ self.w.T + self.b

    def round(self):
        means = self.means()
        decayed: list[Tensor] = [self.p["prompt"], self.w, self.b]
        groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 0.1}, {"params": [self.p["class_prompts"]]}]
        optimiser = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        functional.cross_entropy(self.logits(), self.labels).backward()
        optimiser.step()
        optimiser.zero_grad()
        self.mu = 0.5 * self.mu + 0.5 * means


def test_clients_with_identical_data_equal_one_central_model():
    rows = np.concatenate([toy.rows_of(0, 1, 2), toy.rows_of(3)[:5]])
    of = toy.deal([rows] * 3, [[0]] * 3)
    central = Central(pep(of=of).state.server.tensors, rows)
    for _ in range(3):
        central.round()
    server = pep(of=of, rounds=3, training=ONE_STEP).state.server.tensors
    expected = {**central.p, "head.weight": central.w, "head.bias": central.b, "prototypes": central.mu}
    for key, value in expected.items():
        torch.testing.assert_close(server[key], value.detach(), atol=1e-5, rtol=1e-4)


def test_the_prior_of_a_held_out_client_comes_from_its_training_labels(mixed):
    of = toy.deal([toy.rows_of(0, 1, 2), toy.rows_of(1, 3), toy.rows_of(2)], [[0], [1], [2, 3, 4, 5, 6]], held_out=[2])
    simulator = pep("prior", of=of)
    (labelled,) = simulator.evaluator.tasks(simulator.state, of.held_out)
    (blind,) = simulator.evaluator.tasks(simulator.state, of.held_out, labelled=False)
    assert labelled.counts.tolist() == [0, 0, 15, 0]
    prompts = simulator.state.server["class_prompts"]
    for subject, expected in ((labelled, prompts[2]), (blind, prompts.mean(0))):
        score(simulator.context.recipe, simulator.context.vit, simulator.context.test, [subject])
        torch.testing.assert_close(mixed[-1], expected.expand(5, 1, DIM), atol=1e-7, rtol=0)


def test_held_out_clients_without_labels_are_reported_separately():
    metrics = pep(rounds=1).outcome.metrics
    estimated = {"held_out_unlabelled", "held_out_em", "held_out_bbse"}
    assert set(metrics) == {"seen", "trained", "held_out", "personalised", "held_out_personalised"} | estimated
    assert all(group is not None and group["clients"] for group in metrics.values())


def test_a_client_without_labels_gets_the_rows_of_every_class(mixed):
    simulator = pep(rounds=1)
    (blind,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out, labelled=False)
    clients = Clients.of(blind.counts[None], simulator.context.vit.device)
    state = simulator.context.class_rows.gather([blind.state.tensors], clients)
    for name in ("class_prompts", "prototypes", "known"):
        assert torch.equal(state[name][0], simulator.state.server[name])
    score(simulator.context.recipe, simulator.context.vit, simulator.context.test, [blind])
    z = cls_entering(simulator.state.server["prompt"], blind.rows, 3, "test")
    mu = simulator.state.server["prototypes"]
    cosine = functional.cosine_similarity(z[:, None] - mu.mean(0), mu - mu.mean(0), dim=2)
    expected = torch.einsum("bc,cnd->bnd", (cosine / 0.1).softmax(1), simulator.state.server["class_prompts"])
    torch.testing.assert_close(mixed[-1], expected, atol=1e-5, rtol=1e-4)


def test_no_tensor_is_personal():
    simulator = pep(rounds=1)
    assert not simulator.context.method.personalised
    assert simulator.outcome.parameters["local"] == 0
    assert not simulator.state.local


def test_the_centre_is_the_mean_of_the_known_prototypes_only():
    """Class 1 has neither an old prototype nor samples; class 2 keeps its old one."""
    method, dim = registry.create("pep-fedpt").method, 2
    server = {"prototypes": torch.tensor([[0.0, 0], [0, 0], [6, 2]]), "known": torch.tensor([0.0, 0, 1])}
    statistics = {
        "prototype.sum": torch.tensor([[8.0, 4], [0, 0], [0, 0]]),
        "prototype.count": torch.tensor([[2.0], [0], [0]]),
    }
    changed = method.apply_statistics({**server, "centre": torch.zeros(dim)}, statistics)
    assert changed["prototypes"].tolist() == [[4, 2], [0, 0], [6, 2]]
    assert changed["centre"].tolist() == [5, 2]  # of (4, 2) and (6, 2)
