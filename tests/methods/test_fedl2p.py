"""fedl2p: selection of prompts, and the loss on their keys."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedprompt.methods import MethodError
from fedprompt.methods.components.prompts import cosines, select_top
from fedprompt.methods.registry import create
from tests import toy

SETTINGS = {"fedl2p": {"pool": 6, "chosen": 2, "tokens": 3}}


def ready(**settings):
    """One client's 21 images."""
    simulator = toy.simulator("fedl2p", of=toy.unequal(), settings={"fedl2p": {**SETTINGS["fedl2p"], **settings}})
    return simulator, *toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))


def test_the_entries_with_the_highest_scores_come_from_the_clients_own_pool():
    simulator = toy.simulator("fedl2p", of=toy.unequal())
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([0, 1], 1), width=2)
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.5, 0.1], [0.1, 0.2, 0.3], [0.3, -1.0, 0.2]])
    pool = torch.arange(2 * 3 * 2, dtype=torch.float).view(2, 3, 2)
    expected = [[pool[0, 1], pool[0, 2]], [pool[0, 0], pool[0, 1]], [pool[1, 2], pool[1, 1]], [pool[1, 0], pool[1, 2]]]
    assert torch.equal(select_top(batch, scores, pool, 2), torch.stack([torch.stack(rows) for rows in expected]))


def test_similarity_is_the_cosine_with_the_keys_of_each_client():
    simulator = toy.simulator("fedl2p", of=toy.unequal())
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([0, 1], 1), width=2)
    rng = np.random.default_rng(0)
    query, keys = (torch.from_numpy(rng.normal(size=size)) for size in ((4, 5), (2, 3, 5)))
    by_hand = torch.stack([functional.cosine_similarity(query[b], keys[b // 2], dim=-1) for b in range(4)])
    torch.testing.assert_close(cosines(batch, query, keys), by_hand)


def test_logits_are_those_of_a_forward_pass_with_the_prompts_of_the_nearest_keys():
    """Against timm's own blocks, sample by sample."""
    simulator, batch, state = ready()
    model, logits = simulator.context.vit.model, simulator.context.method.logits(simulator.context.vit, batch, state)
    tokens, queries = simulator.context.train.tokens(batch.rows), simulator.context.train.features(batch.rows)
    choices = set()
    for row in range(len(tokens)):
        similarity = functional.cosine_similarity(queries[row], state["keys"][0], dim=-1).numpy()
        nearest = np.argsort(-similarity)[:2]
        choices.add(tuple(sorted(nearest)))
        prompts = state["pool"][0][nearest].flatten(0, 1)
        x = torch.cat([tokens[row, :1], prompts, tokens[row, 1:]])[None]
        feature = model.norm(model.blocks(x))[0, 0]
        expected = feature @ state["head.weight"][0].T + state["head.bias"][0]
        torch.testing.assert_close(logits[row], expected, atol=1e-5, rtol=1e-4)
    assert len(choices) > 1


def test_the_cosine_loss_moves_selected_keys_towards_samples_and_no_others():
    simulator, batch, state = ready(pull=0.5)
    state["keys"][0, 0] = -simulator.context.train.features(batch.rows).mean(0)  # nearest to no sample
    before = state["keys"].clone()
    state["keys"] = before.clone().requires_grad_()
    simulator.context.method.loss(simulator.context.vit, batch, state).sum().backward()
    after = (before - 1e-4 * state["keys"].grad).detach()
    queries = simulator.context.train.features(batch.rows)
    old, new = (functional.cosine_similarity(queries[:, None], keys, dim=-1) for keys in (before, after))
    chosen = torch.zeros_like(old).scatter(1, old.topk(2).indices, 1.0).bool()
    used = chosen.any(0)
    assert 2 <= used.sum() < 6
    assert (new[chosen].view(-1, 2).sum() > old[chosen].view(-1, 2).sum()).item()
    assert torch.equal(after[0, ~used], before[0, ~used])


def test_the_loss_is_cross_entropy_minus_the_weighted_cosines():
    simulator, batch, state = ready(pull=0.25)
    logits = simulator.context.method.logits(simulator.context.vit, batch, state)
    queries = simulator.context.train.features(batch.rows)
    near = functional.cosine_similarity(queries[:, None], state["keys"], dim=-1).sort(1, descending=True).values
    expected = functional.cross_entropy(logits, batch.labels, reduction="none") - 0.25 * (near[:, 0] + near[:, 1])
    torch.testing.assert_close(simulator.context.method.loss(simulator.context.vit, batch, state), expected)


def test_selecting_more_prompts_than_the_pool_has_is_refused():
    with pytest.raises(MethodError, match=r"fedl2p.chosen=30: the pool has 20 prompts; raise fedl2p.pool"):
        toy.simulator("fedl2p", settings={"fedl2p": {"chosen": 30}})


def test_the_head_may_read_the_mean_of_the_prompts_instead_of_cls():
    simulator, batch, state = ready()
    other = replace(create("fedl2p:read-prompts", SETTINGS).method)
    one, two = (method.logits(simulator.context.vit, batch, state) for method in (simulator.context.method, other))
    assert not torch.allclose(one, two, atol=1e-3)
