"""pfpt: uploads of prompt pools, and the new pool."""

import torch
from torch.nn import functional

from fedprompt.methods import Uploads
from tests import toy

SETTINGS = {"pfpt": {"pool": 8, "chosen": 3, "tokens": 2}}


def test_prompts_are_selected_by_the_projected_feature():
    simulator = toy.simulator("pfpt", of=toy.unequal(), settings=SETTINGS)
    assert set(simulator.state.server.tensors) == {"pool", "projection", "head.weight", "head.bias"}
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))
    state["projection"] = torch.randn(1, 24, 24, generator=torch.Generator().manual_seed(0))
    query = simulator.context.train.features(batch.rows) @ state["projection"][0]
    expected = functional.cosine_similarity(query[:, None], state["pool"].mean(2), dim=-1)
    torch.testing.assert_close(simulator.context.method.similarity(simulator.context.vit, batch, state), expected)


def test_a_client_reports_which_prompts_its_samples_selected():
    simulator = toy.simulator("pfpt", of=toy.unequal(), settings=SETTINGS)
    for update, size in zip(toy.learned(simulator, [0, 1, 2], 1), (21, 10, 15), strict=True):
        drawn = update.reports["drawn"]
        assert drawn.sum() == 3 * size
        assert drawn.max() <= size


def test_the_initial_projection_is_uniform_between_minus_one_and_one():
    projection = toy.simulator("pfpt", of=toy.unequal()).state.server["projection"]
    assert -1 < projection.min() < -0.98
    assert 0.98 < projection.max() < 1
    assert abs(float(projection.var()) - 1 / 3) < 0.03


def test_the_new_pool_contains_the_prompts_that_any_client_used_averaged_over_all_clients():
    """Client 0 used prompts 0 and 1, client 1 prompts 1 and 2, each of which it moved; the rest of 0 to 2 is as sent.

    By hand, with weights of 1/4 and 3/4.
    """
    simulator = toy.simulator("pfpt", of=toy.unequal(), settings=SETTINGS)
    server = simulator.state.server.tensors
    moves = torch.zeros(2, 8, 2, 24)
    moves[0, :2], moves[1, 1:3] = 0.01, -0.01
    sent = {name: torch.stack([value, value]) for name, value in server.items()}
    sent["pool"] = server["pool"] + moves
    drawn = torch.tensor([[5.0, 5, 0, 0, 0, 0, 0, 0], [0, 9, 9, 0, 0, 0, 0, 0]])
    new = simulator.context.method.combine(
        server, Uploads([0, 1], torch.tensor([10.0, 30.0]), sent, {}, {"drawn": drawn})
    )
    shifts = torch.tensor([0.25 * 0.01, 0.25 * 0.01 - 0.75 * 0.01, -0.75 * 0.01]).view(3, 1, 1)
    torch.testing.assert_close(new["pool"], server["pool"][:3] + shifts)


def test_without_matching_every_prompt_is_averaged():
    simulator = toy.simulator("pfpt:average", of=toy.unequal(), settings=SETTINGS)
    mean = torch.zeros(8, 2, 24)
    for size, update in zip((21, 10, 15), toy.learned(simulator, [0, 1, 2], 1), strict=True):
        mean += size / 46 * update.shared["pool"]
    trained = toy.ran("pfpt:average", of=toy.unequal(), settings=SETTINGS, rounds=1)
    torch.testing.assert_close(trained.state.server["pool"], mean)


def test_clients_accept_a_pool_of_another_size():
    simulator = toy.simulator("pfpt", of=toy.unequal(), settings=SETTINGS)
    pool = torch.randn(5, 2, 24, generator=torch.Generator().manual_seed(0))
    simulator.state.server = simulator.state.server.updated({"pool": pool})
    updates = toy.learned(simulator, [0, 1, 2], 2)
    assert all(update.shared["pool"].shape == (5, 2, 24) for update in updates)
    assert all(update.reports["drawn"].shape == (5,) for update in updates)
    simulator.run()
    assert len(simulator.state.server["pool"]) >= 3  # every client's samples chose three at least
