"""fedthe: training of both heads, the descriptors, and the mixing weight of each test sample."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedprompt.benchmark.simulation.evaluation.datastore import with_datastore
from fedprompt.methods.components.personal_model import GLOBAL
from fedprompt.methods.fedthe import PERSONAL, FedTHE
from tests import toy

ONE_EPOCH = replace(toy.TRAINING, epochs=1)


def new(settings=None, **changes):
    return toy.simulator(
        "fedthe", settings={"fedthe": settings} if settings else None, **{"of": toy.unequal(), **changes}
    )


def ran(settings=None, **changes):
    simulator = new(settings, **changes)
    simulator.run()
    return simulator


def states(simulator, clients):
    """What clients predict with, with their datastores."""
    found = with_datastore(simulator.context, simulator.evaluator.tasks(simulator.state, np.array(clients)), False)
    return [task.state.tensors for task in found]


def features(simulator, client):
    """Features [n, D] of a client's training samples under the server's prompts."""
    method, context = simulator.context.method, simulator.context
    batch, _ = toy.batch_of(method, simulator.make_tasks([client], 9))
    return method.feature(context.vit, batch, {k: v[None] for k, v in simulator.state.server.items()})


def official(generic, own, to_own, to_all, steps, rate):
    """Two values per sample under a softmax, optimised by torch's Adam on the paper's loss by autograd."""
    values = torch.ones(len(generic), 2, requires_grad=True)
    adam = torch.optim.Adam([values], lr=rate)
    agree = functional.cosine_similarity(generic.softmax(1), own.softmax(1))
    for _ in range(steps):
        e = values.softmax(1)
        log_p = (e[:, :1] * generic + e[:, 1:] * own).log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1)
        loss = agree * entropy + (1 - agree) * (e[:, 0] * to_all + e[:, 1] * to_own)
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
    return values.softmax(1)[:, 1].detach()


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_the_mixing_weight_is_that_of_autograd_and_torchs_adam_on_the_papers_loss(steps):
    generator = torch.Generator().manual_seed(0)
    generic, own = 2 * torch.randn(2, 12, 4, generator=generator)
    to_own, to_all = torch.rand(2, 12, generator=generator)
    found = FedTHE(steps=steps, rate=0.1).mixing_weight(generic, own, to_own - to_all)
    torch.testing.assert_close(found, official(generic, own, to_own, to_all, steps, 0.1), atol=1e-4, rtol=1e-3)
    assert found.min() < 0.5 < found.max()


def test_heads_that_disagree_follow_the_nearer_descriptor_by_hand():
    """Adam's first step is the rate: u = -+0.1. Cosines are about 0, so that distances decide alone."""
    generic, own = torch.tensor([[30.0, 0.0], [30.0, 0.0]]), torch.tensor([[0.0, 30.0], [0.0, 30.0]])
    found = FedTHE(steps=1, rate=0.1).mixing_weight(generic, own, torch.tensor([-2.0, 2.0]))
    assert found.tolist() == pytest.approx([1 / (1 + exp(-0.2)), 1 / (1 + exp(0.2))], abs=1e-6)


def test_heads_that_agree_follow_the_more_certain_one():
    generic, own = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    more, less = FedTHE().mixing_weight(generic, own, torch.zeros(2)).tolist()
    assert more > 0.6
    assert less == pytest.approx(1 - more, abs=1e-5)


def test_equal_heads_predict_like_one_whatever_the_descriptors():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    share = FedTHE().mixing_weight(logits, logits, torch.full((5,), 7.0))
    assert share.isfinite().all()
    torch.testing.assert_close(logits + share.unsqueeze(1) * (logits - logits), logits, rtol=0, atol=0)


def test_without_steps_logits_are_the_mean_of_both_heads():
    simulator = ran({"steps": 0})
    method, vit = simulator.context.method, simulator.context.vit
    (state,) = states(simulator, [0])
    batch, _ = toy.batch_of(method, simulator.make_tasks([0], 9))
    z = features(simulator, 0)
    generic = functional.linear(z, state["head.weight"], state["head.bias"])
    own = functional.linear(z, state["personal.weight"], state["personal.bias"])
    assert not torch.allclose(generic, own)
    found = method.logits(vit, batch, {key: value[None] for key, value in state.items()})
    torch.testing.assert_close(found, (generic + own) / 2, atol=1e-5, rtol=1e-5)


def test_a_prediction_uses_the_sample_and_both_descriptors():
    """The whole prediction of a client's samples, from its own mean feature and the server's descriptor."""
    simulator = ran()
    method, vit = simulator.context.method, simulator.context.vit
    (state,) = states(simulator, [2])
    batch, _ = toy.batch_of(method, simulator.make_tasks([2], 9))
    z = features(simulator, 2)
    generic = functional.linear(z, state["head.weight"], state["head.bias"])
    own = functional.linear(z, state["personal.weight"], state["personal.bias"])
    distances = (z - z.mean(0)).norm(dim=1), (z - simulator.state.server["descriptor"]).norm(dim=1)
    e = official(generic, own, *distances, 20, 0.1).unsqueeze(1)
    found = method.logits(vit, batch, {key: value[None] for key, value in state.items()})
    torch.testing.assert_close(found, (1 - e) * generic + e * own, atol=1e-3, rtol=1e-3)
    assert batch.notes["personal_share"].shape == (15,)


def test_clients_with_datastores_of_different_sizes_predict_together_as_alone():
    simulator = ran()
    method, vit, jobs = simulator.context.method, simulator.context.vit, simulator.make_tasks([0, 1, 2], 9)
    together = states(simulator, [0, 1, 2])
    batch, _ = toy.batch_of(method, jobs, width=12)
    state = {key: torch.stack([one[key] for one in together]) for key in together[0]}
    logits = method.logits(vit, batch, state).view(3, 12, -1)
    for k, job in enumerate(jobs):
        one, _ = toy.batch_of(method, [job], width=12)
        (own,) = states(simulator, [k])
        alone = method.logits(vit, one, {key: value[None] for key, value in own.items()})
        torch.testing.assert_close(logits[k, : len(alone)], alone, atol=1e-4, rtol=1e-4)


def test_a_prediction_does_not_depend_on_the_other_samples():
    simulator = ran()
    method, (job,) = simulator.context.method, simulator.make_tasks([0], 9)
    (state,) = states(simulator, [0])
    one = {key: value[None] for key, value in state.items()}
    whole, part = (
        method.logits(simulator.context.vit, toy.batch_of(method, [replace(job, rows=rows)])[0], one)
        for rows in (job.rows, job.rows[5:8])
    )
    torch.testing.assert_close(whole[5:8], part, atol=1e-5, rtol=1e-5)


def test_the_averaged_model_and_held_out_scores_equal_those_of_balanced_softmax_alone_exactly():
    arguments = {"of": toy.unequal(), "participation": 2 / 3, "rounds": 3}
    fedthe, fedrod = new(**arguments), toy.simulator("fedrod:generic", **arguments)
    one, other = fedthe.run(), fedrod.run()
    assert all(torch.equal(fedthe.state.server[key], fedrod.state.server[key]) for key in GLOBAL)
    assert one.metrics["held_out"] == other.metrics["held_out"]


def test_with_gamma_zero_the_averaged_model_equals_that_of_fedvpt_exactly():
    fedthe, fedvpt = ran({"gamma": 0.0}), toy.ran("fedvpt", of=toy.unequal())
    assert all(torch.equal(fedthe.state.server[key], fedvpt.state.server[key]) for key in GLOBAL)


def test_the_personal_head_trains_on_features_of_the_received_model():
    """Its result is that of its own phase alone: the prompts that the client trains afterwards do not reach it."""
    simulator = ran()
    jobs = simulator.make_tasks([2], 3)
    (both,) = toy.train(simulator, jobs, ONE_EPOCH)
    personal, generic = simulator.context.method.phases()
    (alone,) = toy.train(simulator, jobs, ONE_EPOCH, (personal,))
    assert all(torch.equal(both.local[key], alone.local[key]) for key in PERSONAL)
    assert all(torch.equal(alone.shared[key], jobs[0].state.shared[key]) for key in GLOBAL)
    (other,) = toy.train(simulator, jobs, ONE_EPOCH, (generic,))
    assert all(torch.equal(both.shared[key], other.shared[key]) for key in GLOBAL)


def test_the_personal_head_has_epochs_of_its_own():
    simulator = new({"personal_epochs": 5})
    (update,) = toy.learned(simulator, [1], 1)
    assert update.images == (5 + toy.TRAINING.epochs) * 10


def test_the_global_descriptor_is_the_unweighted_mean_of_the_cohorts_mean_features():
    """Under the received model, that is, the initial one; clients have 21, 10 and 15 samples."""
    simulator = new(rounds=1)
    expected = torch.stack([features(simulator, k).mean(0) for k in range(3)]).mean(0)
    assert not simulator.state.server["descriptor"].any()
    simulator.run()
    torch.testing.assert_close(simulator.state.server["descriptor"], expected, atol=1e-5, rtol=1e-5)


def test_a_descriptor_travels_each_way_beside_the_averaged_model():
    fedthe, fedvpt = new().run(), toy.simulator("fedvpt", of=toy.unequal()).run()
    extra = 2 * 3 * 24 * 4  # rounds, clients, width, bytes
    assert fedthe.upload_bytes - fedvpt.upload_bytes == extra
    assert fedthe.download_bytes - fedvpt.download_bytes == extra


def test_a_client_that_never_trained_predicts_with_the_generic_head_exactly():
    """Seen or held out: here client 2 of the three is never sampled."""
    simulator = ran(participation=2 / 3, rounds=1)
    (untrained,) = np.flatnonzero(simulator.state.rounds_trained[:3] == 0).tolist()
    method = simulator.context.method
    (state,) = states(simulator, [untrained])
    batch, _ = toy.batch_of(method, simulator.make_tasks([untrained], 9))
    z = features(simulator, untrained)
    found = method.logits(simulator.context.vit, batch, {key: value[None] for key, value in state.items()})
    expected = functional.linear(z, simulator.state.server["head.weight"], simulator.state.server["head.bias"])
    assert torch.equal(found, expected)
    assert state["remembered"].all(), "it has a datastore all the same"
