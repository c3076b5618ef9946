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


@pytest.mark.parametrize("lr", [0.0001, 0.001])
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
        replace(create("pfedpg").method, server_lr=0.01),
    )
    for client in (0, 3):
        shift = torch.randn(24, generator=torch.Generator().manual_seed(client))
        targets[client] = generated(server, client) + 0.3 * shift
    start = {client: (generated(server, client) - target).norm() for client, target in targets.items()}
    for _ in range(300):
        server = method.combine(server, uploads([0, 3], torch.stack(list(targets.values()))))
    for client, target in targets.items():
        assert (generated(server, client) - target).norm() < 0.25 * start[client]


def test_server_steps_are_those_of_torchs_adam_on_half_the_mean_squared_distance_to_the_uploads():
    """Three rounds with different cohorts; autograd differentiates the loss itself, on equations written out here."""
    server, method = toy.simulator("pfedpg").state.server.tensors, create("pfedpg").method
    tensors = {name: server[name].clone().requires_grad_() for name in (*GENERATOR, "descriptors")}
    adam = torch.optim.Adam(tensors.values(), lr=0.001)
    generator = torch.Generator().manual_seed(0)
    for cohort in ([0, 2], [1], [0, 1, 4]):
        sent = torch.randn(len(cohort), 10, 24, generator=generator)
        server = method.combine(server, uploads(cohort, sent))
        base, descriptors = tensors["base"], tensors["descriptors"][cohort]
        scores = descriptors @ tensors["query"] @ (base @ tensors["key"]).T / 8
        prompts = base + (scores.softmax(1) @ (base @ tensors["value"]) @ tensors["out"]).unsqueeze(1)
        adam.zero_grad()
        ((prompts - sent).square().sum() / 2 / len(cohort)).backward()
        adam.step()
    for name, value in tensors.items():
        torch.testing.assert_close(server[name], value.detach(), atol=1e-5, rtol=1e-4)


def test_adam_moments_stay_on_the_server_and_in_checkpoints():
    simulator = toy.ran("pfedpg")
    sent = simulator.state.received(0)
    assert not [name for name in sent if name.startswith(("m.", "v.", "start.", "steps"))]
    saved = simulator.state.tensors()
    assert {"server/m.base", "server/v.descriptors", "server/steps"} <= saved.keys()
    assert not [name for name in saved if "start." in name], "what never changes needs no checkpoint"


def test_the_round_logs_the_cosines_of_generated_prompts_with_each_other_and_with_their_start():
    server, method = toy.simulator("pfedpg").state.server.tensors, create("pfedpg").method
    sent = uploads([0, 2, 3], torch.randn(3, 10, 24, generator=torch.Generator().manual_seed(0)))
    new = method.combine(server, sent)
    now, first = ([generated(state, k).flatten() for k in (0, 2, 3)] for state in (new, server))
    cosine = torch.nn.functional.cosine_similarity
    pairs = [cosine(now[i], now[j], dim=0).item() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert sent.notes["generated_cosine_between_clients"] == pytest.approx(sum(pairs) / 3, abs=1e-5)
    starts = [cosine(a, b, dim=0).item() for a, b in zip(now, first, strict=True)]
    assert sent.notes["generated_cosine_with_start"] == pytest.approx(sum(starts) / 3, abs=1e-5)
    single = uploads([1], sent.shared["prompt"][:1])
    method.combine(server, single)
    assert single.notes.keys() == {"generated_cosine_with_start"}, "one client has no pair"


def test_the_records_hold_the_spread_of_every_round():
    rows = toy.ran("pfedpg").outcome.rounds[1:]
    assert all(-1 <= row["train_generated_cosine_between_clients"] <= 1 for row in rows)
    assert rows[0]["train_generated_cosine_with_start"] > rows[1]["train_generated_cosine_with_start"]


def test_a_round_changes_only_the_descriptors_of_its_cohort():
    server = toy.simulator("pfedpg").state.server.tensors
    sent = torch.stack([generated(server, k) + 0.1 for k in (0, 2)])
    new = create("pfedpg").method.combine(server, uploads([0, 2], sent))
    moved = (new["descriptors"] != server["descriptors"]).any(1)
    assert moved.tolist() == [True, False, True, False, False]
    assert new["trained"].tolist() == [1, 0, 1, 0, 0]


def test_a_descriptor_keeps_moving_by_its_momentum_in_rounds_without_its_client():
    """As in the port, where one Adam holds all descriptors; by hand: m = 0.9 m, v = 0.999 v, and two steps so far."""
    server, method = toy.simulator("pfedpg").state.server.tensors, create("pfedpg").method
    first = method.combine(server, uploads([0], generated(server, 0)[None] + 0.1))
    second = method.combine(first, uploads([2], generated(first, 2)[None] + 0.1))
    m, v = 0.9 * first["m.descriptors"][0] / (1 - 0.9**2), 0.999 * first["v.descriptors"][0] / (1 - 0.999**2)
    expected = first["descriptors"][0] - 0.001 * m / (v.sqrt() + 1e-8)
    torch.testing.assert_close(second["descriptors"][0], expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(second["descriptors"][1], server["descriptors"][1]), "never in a cohort"


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
