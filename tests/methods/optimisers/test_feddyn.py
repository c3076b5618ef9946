"""FedDyn by hand, alpha 1/2, where w - target is a client's gradient: two steps of 1/2 a round, targets (4, 0), (0, 8).

Round 1 from (0, 0). Client 0: gradient (-4, 0) to (2, 0), then (-2, 0) + 1/2 (2, 0) to (2.5, 0); its dual is -1/2 of
that. Client 1: (0, -8) to (0, 4), then (0, -4) + (0, 2) to (0, 5). The mean and the mean move are (1.25, 2.5): the
server has (2.5, 5).
Round 2. Client 0: (-1.5, 5) + (1.25, 0) to (2.625, 2.5), then (-1.375, 2.5) + (1.25, 0) + 1/2 (0.125, -2.5) to
(2.65625, 1.875). Client 1: (2.5, -3) + (0, 2.5) to (1.25, 5.25), then (1.25, -2.75) + (0, 2.5) + 1/2 (-1.25, 0.25) to
(0.9375, 5.3125). The mean is (1.796875, 3.59375), the mean moves add up to (1.25, 2.5) + (-0.703125, -1.40625).
"""

import pytest
import torch

from fedprompt.methods.optimisers.feddyn import FedDyn
from tests import toy
from tests.methods import quadratic
from tests.methods.contract import same


def test_the_duals_and_the_server_after_one_round():
    run = quadratic.simulator(FedDyn(alpha=0.5), rounds=1)
    run.run()
    assert run.state.optimiser_local[0]["feddyn.w"].tolist() == pytest.approx([-1.25, 0])
    assert run.state.optimiser_local[1]["feddyn.w"].tolist() == pytest.approx([0, -2.5])
    assert run.state.optimiser_memory[0]["w"].tolist() == pytest.approx([1.25, 2.5])
    assert run.state.server["w"].tolist() == pytest.approx([2.5, 5])


def test_the_duals_and_the_server_after_two_rounds():
    run = quadratic.simulator(FedDyn(alpha=0.5), rounds=2)
    run.run()
    assert run.state.optimiser_local[0]["feddyn.w"].tolist() == pytest.approx([-1.328125, 1.5625])
    assert run.state.optimiser_local[1]["feddyn.w"].tolist() == pytest.approx([0.78125, -2.65625])
    assert run.state.optimiser_memory[0]["w"].tolist() == pytest.approx([0.546875, 1.09375])
    assert run.state.server["w"].tolist() == pytest.approx([1.796875 + 0.546875, 3.59375 + 1.09375])


def evaluated(run, client):
    (state,) = run.state.for_prediction([client])
    return state.shared["w"].tolist()


@pytest.mark.parametrize(("rounds", "mean"), [(1, [1.25, 2.5]), (2, [1.796875, 3.59375])])
def test_clients_predict_with_the_cohorts_mean_and_receive_the_servers_model(rounds, mean):
    run = quadratic.simulator(FedDyn(alpha=0.5), rounds=rounds)
    run.run()
    assert evaluated(run, 0) == pytest.approx(mean)
    received = run.state.for_training(0).shared["w"].tolist()
    assert received == run.state.server["w"].tolist() != pytest.approx(mean)


def test_before_the_first_round_clients_predict_with_the_initial_model():
    run = toy.simulator("head+feddyn")
    (state,) = run.state.for_prediction([0])
    assert all(torch.equal(value, run.state.server[name]) for name, value in state.shared.items())


def test_seen_and_held_out_clients_predict_with_the_same_mean():
    run = toy.ran("head+feddyn", rounds=2)
    seen, held_out = (int(group[0]) for group in (run.context.federation.seen, run.context.federation.held_out))
    one, other = run.state.for_prediction([seen, held_out])
    for name, value in one.shared.items():
        assert torch.equal(value, other.shared[name])
        torch.testing.assert_close(value + run.state.optimiser_memory[0][name], run.state.server[name])
        assert not torch.allclose(value, run.state.server[name], atol=1e-4)


def test_a_resumed_run_predicts_with_the_same_mean():
    run, again = toy.ran("head+feddyn", rounds=2), toy.simulator("head+feddyn", rounds=2)
    again.load_state_dict(run.state_dict())
    for one, other in zip(run.state.for_prediction([0, 1]), again.state.for_prediction([0, 1]), strict=True):
        assert same(one.shared, other.shared)


def test_without_the_penalty_clients_predict_with_what_they_receive():
    run = quadratic.simulator(FedDyn(alpha=0.0), rounds=2)
    run.run()
    assert evaluated(run, 0) == run.state.server["w"].tolist()


def test_it_converges_to_the_minimum_of_the_global_loss():
    """At the mean of the targets, where no client is at its own."""
    run = quadratic.simulator(FedDyn(alpha=0.5), rounds=60)
    run.run()
    assert run.state.server["w"].tolist() == pytest.approx([2, 4], abs=1e-4)
    assert run.state.optimiser_local[0]["feddyn.w"].tolist() == pytest.approx([-2, 4], abs=1e-4)
