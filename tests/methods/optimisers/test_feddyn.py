"""FedDyn by hand, alpha 1/2, where w - target is a client's gradient: two steps of 1/2 a round, targets (4, 0), (0, 8).

Round 1 from (0, 0). Client 0: gradient (-4, 0) to (2, 0), then (-2, 0) + 1/2 (2, 0) to (2.5, 0); its dual is -1/2 of
that. Client 1: (0, -8) to (0, 4), then (0, -4) + (0, 2) to (0, 5). The mean and the mean move are (1.25, 2.5): the
server has (2.5, 5).
Round 2. Client 0: (-1.5, 5) + (1.25, 0) to (2.625, 2.5), then (-1.375, 2.5) + (1.25, 0) + 1/2 (0.125, -2.5) to
(2.65625, 1.875). Client 1: (2.5, -3) + (0, 2.5) to (1.25, 5.25), then (1.25, -2.75) + (0, 2.5) + 1/2 (-1.25, 0.25) to
(0.9375, 5.3125). The mean is (1.796875, 3.59375), the mean moves add up to (1.25, 2.5) + (-0.703125, -1.40625).
"""

import pytest

from fedprompt.methods.optimisers.feddyn import FedDyn
from tests.methods import quadratic


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


def test_it_converges_to_the_minimum_of_the_global_loss():
    """At the mean of the targets, where no client is at its own."""
    run = quadratic.simulator(FedDyn(alpha=0.5), rounds=60)
    run.run()
    assert run.state.server["w"].tolist() == pytest.approx([2, 4], abs=1e-4)
    assert run.state.optimiser_local[0]["feddyn.w"].tolist() == pytest.approx([-2, 4], abs=1e-4)
