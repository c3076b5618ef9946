"""sgpt: assignment to groups, training phases, and weights of keys on the server."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from fedprompt.methods import MethodError, Uploads
from fedprompt.methods.registry import create
from tests import toy

HEAD = {"head.weight", "head.bias"}
GROUPS = 5


def ready(**settings):
    """One client's 21 images."""
    simulator = toy.simulator("sgpt", of=toy.unequal(), settings={"sgpt": {"groups": GROUPS, **settings}})
    return simulator, *toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))


def cosine(simulator, batch, keys):
    """Cosines [B, G] with keys [G, D], the negative part of a feature cut off first."""
    queries = simulator.context.train.features(batch.rows).clamp_min(0)
    return functional.cosine_similarity(queries[:, None], keys[None], dim=-1)


def test_a_sample_is_assigned_to_the_group_with_the_nearest_key():
    simulator, batch, state = ready()
    chosen = simulator.context.method.assign_groups(simulator.context.vit, batch, state)
    assert chosen.sum(1).eq(1).all()
    assert torch.equal(chosen.argmax(1), cosine(simulator, batch, state["keys"][0]).argmax(1))


def test_frequently_used_groups_are_penalised_in_training_only():
    """(1 - cosine) (share of use + 0.0005) is least at the group chosen."""
    simulator, batch, state = ready()
    near = cosine(simulator, batch, state["keys"][0])
    favourite = int(near.argmax(1).mode().values)
    state["usage"] = torch.full((1, GROUPS), 10.0)
    state["usage"][0, favourite] = 960.0
    share = state["usage"][0] / 1000
    assert torch.equal(
        simulator.context.method.assign_groups(simulator.context.vit, batch, state).argmax(1), near.argmax(1)
    )
    batch.phase = simulator.context.method.phases()[1]
    chosen = simulator.context.method.assign_groups(simulator.context.vit, batch, state).argmax(1)
    assert torch.equal(chosen, ((1 - near) * (share + 5e-4)).argmin(1))
    assert not (chosen == favourite).any()


def test_shared_and_group_prompts_train_alternately_and_the_head_in_both_phases():
    simulator = toy.simulator("sgpt", of=toy.unequal())
    (job,) = simulator.make_tasks([0], 1)
    for phase, own in zip(
        simulator.context.method.phases(), (HEAD | {"shared"}, HEAD | {"group", "keys"}), strict=True
    ):
        (update,) = toy.train(simulator, [job], toy.TRAINING, (phase,))
        assert {key for key in job.state.shared if not torch.equal(job.state.shared[key], update.shared[key])} == own


def test_the_first_phase_uses_neither_groups_nor_keys():
    simulator, batch, state = ready()
    batch.phase = simulator.context.method.phases()[0]
    loss = simulator.context.method.loss(simulator.context.vit, batch, state)
    other = {**state, "group": state["group"] + 1, "keys": state["keys"].flip(1)}
    assert torch.equal(simulator.context.method.loss(simulator.context.vit, batch, other), loss)
    batch.phase = simulator.context.method.phases()[1]
    assert not torch.allclose(simulator.context.method.loss(simulator.context.vit, batch, other), loss, atol=1e-2)


def test_the_loss_of_the_second_phase_is_cross_entropy_minus_the_cosine_with_the_key():
    simulator, batch, state = ready(pull=0.5)
    batch.phase = simulator.context.method.phases()[1]
    near = cosine(simulator, batch, state["keys"][0])  # nothing is used yet, so that the nearest is chosen
    logits = simulator.context.method.logits(simulator.context.vit, batch, state)
    expected = functional.cross_entropy(logits, batch.labels, reduction="none") - 0.5 * near.max(1).values
    torch.testing.assert_close(simulator.context.method.loss(simulator.context.vit, batch, state), expected)


def test_logits_are_those_of_the_plain_transformer_with_both_kinds_of_prompts_put_in():
    """Against timm's own blocks: shared tokens enter layers 1 and 2, group tokens 3 and 4, and all stay."""
    simulator, batch, state = ready(tokens=2, shared_layers=2, group_layers=2)
    torch.manual_seed(0)
    state["shared"] = torch.randn(1, 3, 24) / 5
    model, head = simulator.context.vit.model, (state["head.weight"][0], state["head.bias"][0])
    group = state["group"][0][simulator.context.method.assign_groups(simulator.context.vit, batch, state).argmax(1)]
    x = simulator.context.train.tokens(batch.rows)
    several = state["shared"].expand(len(x), -1, -1)
    for block, own in zip(model.blocks, (several[:, :2], several[:, 2:], group[:, :1], group[:, 1:]), strict=True):
        x = block(torch.cat([x[:, :1], own, x[:, 1:]], 1))
    expected = functional.linear(model.norm(x)[:, :3].mean(1), *head)  # cls and the two group tokens
    torch.testing.assert_close(
        simulator.context.method.logits(simulator.context.vit, batch, state), expected, atol=1e-5, rtol=1e-4
    )


def test_a_client_reports_the_number_of_samples_per_group():
    simulator = toy.simulator("sgpt", of=toy.unequal(), settings={"sgpt": {"groups": GROUPS}})
    for update, size in zip(toy.learned(simulator, [0, 1, 2], 1), (21, 10, 15), strict=True):
        assert update.reports["drawn"].sum() == size
        queries = functional.normalize(
            simulator.context.train.features(
                torch.from_numpy(simulator.make_tasks([update.client], 1)[0].rows)
            ).clamp_min(0)
        )
        nearest = (queries @ functional.normalize(update.shared["keys"]).T).argmax(1)
        assert torch.equal(update.reports["drawn"], torch.bincount(nearest, minlength=GROUPS).float())


def combined(drawn, epochs=1, **settings):
    """The server after clients of 30 and 10 samples send keys and group prompts of 1 and 5; before it has 0."""
    method = create("sgpt", {"sgpt": {"groups": 2, **settings}}).method
    names = ("shared", "group", "keys", *sorted(HEAD))
    server = {name: torch.zeros(2, 3) for name in names} | {"usage": torch.tensor([4.0, 6.0])}
    sent = {name: torch.stack([torch.full((2, 3), 1.0), torch.full((2, 3), 5.0)]) for name in names}
    uploads = Uploads([0, 1], torch.tensor([30.0, 10.0]), sent, {}, {"drawn": torch.tensor(drawn)}, epochs=epochs)
    return server, method.combine(server, uploads)


def test_keys_are_averaged_by_assigned_samples_and_other_tensors_by_sample_counts():
    """By hand: key 0 has 1/5 of client 0 and 4/5 of client 1, 4.2; key 1 drew too few, so 3; the others 2."""
    server, new = combined([[20.0, 10.0], [80.0, 0.0]], momentum=0.0, key_momentum=0.0, enough=50)
    torch.testing.assert_close(new["keys"], torch.tensor([[4.2], [3.0]]).expand(2, 3))
    for name in ("shared", "group", *HEAD):
        torch.testing.assert_close(new[name], torch.full((2, 3), 2.0))
    assert new["usage"].tolist() == [104.0, 16.0]
    assert server["usage"].tolist() == [4.0, 6.0]


def test_samples_per_group_are_counted_in_every_local_epoch():
    """Key 1 draws 10 and 20 samples an epoch: 30 in one are too few, 60 in two give weights of 1/3 and 2/3."""
    (_, once), (_, twice) = (combined([[20.0, 10.0], [80.0, 20.0]], epochs, key_momentum=0.0) for epochs in (1, 2))
    torch.testing.assert_close(once["keys"][1], torch.full((3,), 3.0))
    torch.testing.assert_close(twice["keys"], torch.tensor([[4.2], [11 / 3]]).expand(2, 3))
    assert twice["usage"].tolist() == [204.0, 66.0]


def test_the_server_learns_the_local_epochs_of_the_run():
    simulator = toy.ran("sgpt", of=toy.unequal(), rounds=1, settings={"sgpt": {"groups": GROUPS}})
    assert toy.TRAINING.epochs == 2
    assert simulator.state.server["usage"].sum() == 2 * (21 + 10 + 15)


def test_weight_decay_applies_to_group_prompts_and_keys_whether_selected_or_not():
    """One step with lr 0.1 and decay 0.5 scales the rows that no sample selects by 0.95."""
    simulator, _, state = ready()
    training = replace(toy.TRAINING, epochs=1, batch_size=60, lr=0.1, momentum=0.0, weight_decay=0.5)
    jobs = simulator.make_tasks([0], 1)
    (update,) = toy.train(simulator, jobs, training, simulator.context.method.phases()[1:])
    (free,) = toy.train(simulator, jobs, replace(training, weight_decay=0.0), simulator.context.method.phases()[1:])
    for name in ("group", "keys"):
        torch.testing.assert_close(update.shared[name], free.shared[name] - 0.05 * state[name][0])


def test_momentum_keeps_a_share_of_old_keys_and_group_prompts():
    """From zero: half of 4.2, and three quarters of 2."""
    _, new = combined([[20.0, 10.0], [80.0, 0.0]], momentum=0.25, key_momentum=0.5)
    torch.testing.assert_close(new["keys"][0], torch.full((3,), 2.1))
    torch.testing.assert_close(new["group"], torch.full((2, 3), 1.5))
    torch.testing.assert_close(new["shared"], torch.full((2, 3), 2.0))


def test_initial_keys_are_orthonormal():
    keys = ready()[0].state.server["keys"]
    torch.testing.assert_close(keys @ keys.T, torch.eye(GROUPS), atol=1e-5, rtol=0)


def test_more_prompted_layers_than_backbone_layers_are_refused():
    with pytest.raises(MethodError, match=r"shared_layers=4 and group_layers=1 exceed the backbone's 4 layers"):
        ready(shared_layers=4)
