"""Shared by ditto, apfl and pfedme: an averaged model and a personal model per client."""

import pytest
import torch

from fedprompt.methods import Phase
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL, personal_copy, squared_distance
from tests import toy
from tests.methods.contract import same

NAMES = ["ditto", "apfl", "pfedme"]
every_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module", params=NAMES)
def ran(request):
    """A finished, read-only run."""
    return toy.ran(request.param, of=toy.unequal())


def test_a_held_out_client_predicts_exactly_like_the_averaged_model(ran):
    (subject,) = ran.evaluator.tasks(ran.state, ran.context.federation.held_out)
    assert same(personal_copy(subject.state), personal_copy(ran.state.server.tensors))
    (job,) = ran.make_tasks([3], 9)
    batch, state = toy.batch_of(ran.context.method, [job])
    state |= {key: subject.state.tensors[key].unsqueeze(0) for key in ran.state.initial_local}
    plain = toy.simulator("fedvpt").context.method.logits(ran.context.vit, batch, state)
    assert torch.equal(ran.context.method.logits(ran.context.vit, batch, state), plain)


def test_adaptation_of_a_held_out_client_changes_only_its_personal_model(ran):
    before = ran.evaluator.tasks(ran.state, ran.context.federation.held_out)
    (after,), _ = ran.evaluator.tuned(before, Phase(ran.context.method.adapted, epochs=1))
    moved = {key for key, value in before[0].state.items() if not torch.equal(value, after.state[key])}
    assert moved - {*GLOBAL} == {*PERSONAL}
    assert all(torch.equal(ran.state.server[key], before[0].state[key]) for key in GLOBAL)


@every_name
def test_a_client_never_sampled_predicts_with_the_averaged_model(name):
    simulator = toy.ran(name, of=toy.unequal(), participation=1 / 3, rounds=1)
    (trained,) = simulator.state.local
    for subject in simulator.evaluator.tasks(simulator.state, simulator.context.federation.seen):
        own = {key: subject.state.tensors[key] for key in PERSONAL}
        assert same(own, personal_copy(simulator.state.server.shared)) == (subject.client != trained)
    assert simulator.outcome.never_trained == pytest.approx(2 / 3)


@every_name
@pytest.mark.parametrize("kind", ["fused", "threaded", "sequential"])
def test_the_first_round_of_a_client_does_not_depend_on_other_clients(name, kind):
    mine, ends = toy.rows_of(0, 1), []
    for others in (toy.rows_of(2), toy.rows_of(3)):
        simulator = toy.simulator(name, of=toy.deal([mine, others], [[0], [1]]), executor=kind, threads=2)
        (update, _) = toy.learned(simulator, [0, 1], 1, kind)
        ends.append({**update.shared, **update.local})
    if kind == "fused":
        assert all(torch.allclose(ends[0][key], ends[1][key], atol=1e-5) for key in ends[0])
    else:
        assert same(*ends)


def test_the_distance_covers_all_tensors_per_client():
    w = {"prompt": torch.zeros(2, 1, 2), "head.weight": torch.ones(2, 2, 2), "head.bias": torch.zeros(2, 2)}
    v = {key: value + torch.tensor([1.0, 3.0]).view(2, *[1] * (value.dim() - 1)) for key, value in w.items()}
    own = dict(zip(PERSONAL, v.values(), strict=True))
    assert squared_distance({**w, **own}).tolist() == [8.0, 72.0]  # of 2 + 4 + 2 numbers, each 1 and 3 away
