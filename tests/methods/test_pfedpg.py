"""pfedpg: the server's generator, its update, and the prompts of each client."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.methods import Uploads
from fedprompt.methods.pfedpg import GENERATOR
from fedprompt.methods.registry import create
from tests import toy


def uploads(clients, prompts):
    return Uploads(clients, torch.ones(len(clients)), {"prompt": prompts}, {})


def generated(server, client):
    return create("pfedpg").method.download(server, client)["prompt"]


def test_prompts_are_base_prompts_and_one_vector_of_cross_attention():
    """The paper's equations written out in numpy."""
    server = toy.simulator("pfedpg").state.server.tensors
    base, query, key, value, out = (server[name].numpy().astype(np.float64) for name in GENERATOR)
    scores = server["descriptors"][2].numpy() @ query @ (base @ key).T / np.sqrt(64)
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(generated(server, 2), base + weights @ (base @ value) @ out, atol=1e-5)


@pytest.mark.parametrize("lr", [0.01, 1.0])
def test_one_server_step_moves_the_generated_prompts_towards_the_upload(lr):
    server = toy.simulator("pfedpg").state.server.tensors
    method = replace(create("pfedpg").method, server_lr=lr)
    before = generated(server, 1)
    updated = before + 0.05 * torch.randn(before.shape, generator=torch.Generator().manual_seed(0))
    after = generated(method.combine(server, uploads([1], updated[None])), 1)
    assert (after - updated).norm() < before.sub(updated).norm()
    assert ((after - before) * (updated - before)).sum() > 0


def test_many_steps_fit_different_prompts_for_two_clients():
    server, targets, method = (
        toy.simulator("pfedpg").state.server.tensors,
        {},
        replace(create("pfedpg").method, server_lr=0.1),
    )
    for client in (0, 3):
        shift = torch.randn(24, generator=torch.Generator().manual_seed(client))
        targets[client] = generated(server, client) + 0.3 * shift
    start = {client: (generated(server, client) - target).norm() for client, target in targets.items()}
    for _ in range(300):
        server = method.combine(server, uploads([0, 3], torch.stack(list(targets.values()))))
    for client, target in targets.items():
        assert (generated(server, client) - target).norm() < 0.25 * start[client]


def test_the_server_step_minimises_half_the_squared_distance_to_the_uploads():
    """Its gradient is carried back by autograd from the loss itself, and central differences check one number."""
    server, client = toy.simulator("pfedpg").state.server.tensors, 1
    method, step = replace(create("pfedpg").method, server_lr=1.0), 1e-2
    updated = generated(server, client) + 0.1
    new = method.combine(server, uploads([client], updated[None]))

    def loss(change):
        moved = server["base"].clone().double()
        moved[0, 0] += change
        return float((generated({**server, "base": moved.float()}, client) - updated).square().sum() / 2)

    slope = (loss(step) - loss(-step)) / (2 * step)
    assert float(new["base"][0, 0] - server["base"][0, 0]) == pytest.approx(-slope, rel=2e-2)


def test_a_round_changes_only_the_descriptors_of_its_cohort():
    server = toy.simulator("pfedpg").state.server.tensors
    sent = torch.stack([generated(server, k) + 0.1 for k in (0, 2)])
    new = create("pfedpg").method.combine(server, uploads([0, 2], sent))
    moved = (new["descriptors"] != server["descriptors"]).any(1)
    assert moved.tolist() == [True, False, True, False, False]
    assert new["trained"].tolist() == [1, 0, 1, 0, 0]


def test_clients_receive_only_their_own_prompts():
    simulator = toy.simulator("pfedpg", of=toy.unequal())
    jobs = simulator.make_tasks([0, 1], 1)
    assert [set(job.state.shared) | set(job.state.memory) for job in jobs] == [{"prompt"}, {"prompt"}]
    assert not torch.equal(jobs[0].state.shared["prompt"], jobs[1].state.shared["prompt"])
    assert simulator.outcome.download_bytes == 2 * 4 * 10 * 24


def test_a_client_predicts_with_its_last_trained_prompts():
    simulator = toy.simulator("pfedpg", of=toy.unequal(), rounds=1)
    updates = toy.learned(simulator, [0, 1, 2], 1)
    simulator.run()
    for update, subject in zip(updates, simulator.evaluator.tasks(simulator.state, np.array([0, 1, 2])), strict=True):
        assert torch.equal(subject.state.tensors["prompt"], update.shared["prompt"])
        assert torch.equal(subject.state.tensors["head.weight"], update.local["head.weight"])


@pytest.mark.parametrize("name", ["pfedpg", "pfedpg:base"])
def test_a_held_out_client_gets_the_mean_descriptors_prompts_or_the_base_prompts(name):
    simulator = toy.ran(name, of=toy.unequal())
    (subject,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out)
    server = simulator.state.server.tensors
    mean = simulator.context.method.generate(server, server["descriptors"][:3].mean(0))
    torch.testing.assert_close(subject.state.tensors["prompt"], mean if name == "pfedpg" else server["base"])
    heads = torch.stack([simulator.state.local[k]["head.weight"] for k in range(3)]).mean(0)
    torch.testing.assert_close(subject.state.tensors["head.weight"], heads)
