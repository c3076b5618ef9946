"""fedmgp: features and losses per group, draws on the server, and what each client receives."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedprompt.methods import MethodError, Uploads
from fedprompt.methods.fedmgp import FedMGP, distance_between, draw_all
from tests import toy

DIM, GROUPS = 24, 3
SETTINGS = {"fedmgp": {"groups": GROUPS, "tokens": 2, "selected": 2}}


def ready(**settings):
    """The method, and one client's 21 images with its state."""
    simulator = toy.simulator("fedmgp", of=toy.unequal(), settings={"fedmgp": {**SETTINGS["fedmgp"], **settings}})
    return simulator.context.method, simulator, *toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))


def logits_by_group(simulator, batch, state):
    """Logits [groups, B, C] of a ViT with the tokens of one group at a time, by timm's own blocks."""
    model, found = simulator.context.vit.model, []
    for group in state["prompts"][0]:
        x = simulator.context.train.tokens(batch.rows)
        x = model.norm(model.blocks(torch.cat([x[:, :1], group.expand(len(x), -1, -1), x[:, 1:]], 1)))[:, 0]
        found.append(functional.linear(x, state["head.weight"][0], state["head.bias"][0]))
    return torch.stack(found)


def test_the_prediction_is_the_mean_of_the_groups_logits():
    method, simulator, batch, state = ready()
    expected = logits_by_group(simulator, batch, state).mean(0)
    torch.testing.assert_close(method.logits(simulator.context.vit, batch, state), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("weight", [2.0, -2.0])
def test_the_loss_is_the_mean_cross_entropy_of_the_groups_minus_the_weighted_distance(weight):
    method, simulator, batch, state = ready(diversity=weight)
    each = [
        functional.cross_entropy(logits, batch.labels, reduction="none")
        for logits in logits_by_group(simulator, batch, state)
    ]
    distance = distance_between(method.features(simulator.context.vit, batch, state))
    expected = torch.stack(each).mean(0) - weight * distance
    torch.testing.assert_close(method.loss(simulator.context.vit, batch, state), expected, atol=1e-5, rtol=1e-4)
    assert (distance > 1e-3).all()


def test_the_distance_is_the_mean_over_pairs_of_the_absolute_difference_of_normalised_features():
    """Unit vectors (1, 0), (0, 1) and (1, 0): means of 1, 0 and 1 over two dimensions, so 2/3; one group has none."""
    z = torch.tensor([[[2.0, 0.0], [0.0, 5.0], [1.0, 0.0]]])
    torch.testing.assert_close(distance_between(z), torch.tensor([2 / 3]))
    assert distance_between(z[:, :1]).tolist() == [0]


@pytest.mark.parametrize(("weight", "further"), [(300.0, True), (-300.0, False)])
def test_a_positive_weight_moves_groups_apart_and_a_negative_one_together(weight, further):
    method, simulator, batch, state = ready(diversity=weight)
    before = distance_between(method.features(simulator.context.vit, batch, state)).mean()
    (update,) = toy.train(simulator, simulator.make_tasks([0], 1))
    after = distance_between(
        method.features(simulator.context.vit, batch, {k: v[None] for k, v in update.shared.items()})
    )
    assert (after.mean() > before) == further


def server_of(method, rounds=1):
    """Three one-token groups; the global ones are the first two axes. Seed 0."""
    prompts = torch.eye(4)[:3].unsqueeze(1)
    head = {"head.weight": torch.zeros(2, 4), "head.bias": torch.zeros(2)}
    initial = {"initial.prompts": prompts.flip(0)}
    return {"prompts": prompts[[0, 1, 0]], **head, **initial, "draws": torch.tensor([0, rounds])}


def uploaded(prompts):
    """Uploads of clients 4 and 7 with 10 and 30 samples."""
    shared = {"prompts": prompts, "head.weight": torch.ones(2, 2, 4), "head.bias": torch.tensor([[0.0, 0], [4, 8]])}
    return Uploads([4, 7], torch.tensor([10.0, 30.0]), shared, {})


def test_groups_drawn_at_the_same_place_are_averaged_by_sample_counts_and_the_others_stay_the_clients():
    """At a temperature near 0 a client's two groups most similar to a global one are drawn, the nearest first."""
    method = FedMGP(groups=3, tokens=1, selected=2, temperature=1e-4)
    axes = torch.eye(4)
    near = axes[0] + 0.1 * axes[3]  # cosine 0.995 with a global group
    nearest = axes[1] + 0.01 * axes[3]
    far = axes[3]
    prompts = torch.stack([torch.stack([far, near, nearest]), torch.stack([2 * nearest, far, 2 * near])]).unsqueeze(2)
    uploads, server = uploaded(prompts), server_of(method)
    new = method.combine(server, uploads)
    torch.testing.assert_close(new["4.prompts"][:, 0], torch.stack([nearest, near, far]))
    torch.testing.assert_close(new["7.prompts"][:, 0], torch.stack([2 * nearest, 2 * near, far]))
    first, second = 0.25 * nearest + 0.75 * 2 * nearest, 0.25 * near + 0.75 * 2 * near
    torch.testing.assert_close(new["prompts"][:, 0], torch.stack([first, second, first]))
    torch.testing.assert_close(new["head.bias"], torch.tensor([3.0, 6.0]))
    assert new["draws"].tolist() == [0, 2]
    assert 0.99 < uploads.notes["drawn_similarity"] < 1
    torch.testing.assert_close(method.download(new, 4)["prompts"][:, 0], torch.stack([first, second, far]))
    torch.testing.assert_close(method.download(new, 7)["prompts"][:, 0], torch.stack([first, second, far]))


def test_a_client_that_never_trained_starts_from_the_global_and_the_initial_groups_and_a_held_out_one_has_the_global():
    method = FedMGP(groups=3, tokens=1, selected=2)
    server = server_of(method)
    assert torch.equal(method.download(server, 5)["prompts"][:, 0], torch.eye(4)[[0, 1, 0]])  # initially 2, 1, 0
    assert torch.equal(method.download(server, None)["prompts"][:, 0], torch.eye(4)[[0, 1, 0]])
    assert method.download(server, 5).keys() == {"prompts", "head.weight", "head.bias"}


def test_groups_are_drawn_from_the_softmax_without_replacement():
    """The frequencies of ordered pairs from 0.6, 0.3, 0.1: p_i p_j / (1 - p_i)."""
    p = torch.tensor([0.6, 0.3, 0.1])
    drawn = draw_all(p.log().expand(20000, 3), torch.Generator().manual_seed(0))
    for i, j in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)):
        share = float(((drawn[:, 0] == i) & (drawn[:, 1] == j)).float().mean())
        assert share == pytest.approx(float(p[i] * p[j] / (1 - p[i])), abs=0.015)


def test_the_first_draws_ignore_similarity_and_every_round_draws_anew():
    prompts = torch.eye(4)[:3].unsqueeze(1).expand(2, -1, -1, -1)  # the first group of each client is the global one

    def drawn(temperature, draws):
        method = FedMGP(groups=3, tokens=1, selected=1, temperature=temperature)
        new = method.combine({**server_of(method), "draws": torch.tensor(draws)}, uploaded(prompts))
        return int(new["4.prompts"][0, 0].argmax())

    assert {drawn(1e-4, [seed, 0]) for seed in range(20)} == {0, 1, 2}
    assert {drawn(1e-4, [0, rounds]) for rounds in range(1, 20)} == {0}
    assert {drawn(1e6, [0, rounds]) for rounds in range(1, 20)} == {0, 1, 2}


def test_with_one_group_it_equals_fedvpt_exactly():
    plain = toy.simulator("fedvpt", of=toy.unequal(), rounds=3, participation=0.5, settings={"fedvpt": {"tokens": 4}})
    one = {"groups": 1, "tokens": 4, "selected": 1}
    grouped = toy.simulator("fedmgp", of=toy.unequal(), rounds=3, participation=0.5, settings={"fedmgp": one})
    expected, found = plain.run(), grouped.run()
    assert torch.equal(grouped.state.server["prompts"][0], plain.state.server["prompt"])
    assert torch.equal(grouped.state.server["head.weight"], plain.state.server["head.weight"])
    for name in ("seen", "held_out"):
        assert found.metrics[name] == expected.metrics[name]


def test_groups_are_rows_of_one_pass_so_the_layers_needed_grow_with_their_number():
    needed = []
    for groups in (1, 3):
        method, simulator, batch, state = ready(groups=groups, selected=1)
        before = simulator.context.vit.layers_needed
        with simulator.context.vit.counting(batch):
            method.logits(simulator.context.vit, batch, state)
        needed.append(simulator.context.vit.layers_needed - before)
    np.testing.assert_allclose(needed[1], 3 * needed[0])


def test_more_selected_groups_than_groups_are_refused():
    with pytest.raises(MethodError, match=r"fedmgp.selected=4: a client has 3 groups; raise fedmgp.groups"):
        ready(selected=4)
