"""Control variates by hand, where w - target is a client's gradient, two steps of 1/2 a round, targets (4, 0), (0, 8).

Round 1, uncorrected: w goes (0, 0), (2, 0), (3, 0) at client 0 and (0, 0), (0, 4), (0, 6) at client 1. The gradients'
means are c_0 = (-3, 0) and c_1 = (0, -6), so c = (-1.5, -3), and the server has (1.5, 3).
Round 2: client 0 adds c - c_0 = (1.5, -3) to its gradients (-2.5, 3) and (-2, 3): (1.5, 3), (2, 3), (2.25, 3). Client 1
adds (-1.5, 3) to (1.5, -5) and (1.5, -4): (1.5, 3), (1.5, 4), (1.5, 4.5). c_0 = (-2.25, 3), c_1 = (1.5, -4.5).
"""

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.optimisers import momentum_reach
from fedprompt.methods import Phase
from fedprompt.methods.optimisers.scaffold import Scaffold
from tests import toy
from tests.methods import quadratic
from tests.methods.contract import OPTIMISED, new, ran, same


def test_the_control_variates_of_the_first_round_are_mean_gradients():
    run = quadratic.simulator(Scaffold(), rounds=1)
    run.run()
    assert run.state.optimiser_local[0]["scaffold.w"].tolist() == pytest.approx([-3, 0])
    assert run.state.optimiser_local[1]["scaffold.w"].tolist() == pytest.approx([0, -6])
    assert run.state.optimiser_memory[0]["w"].tolist() == pytest.approx([-1.5, -3])
    assert run.state.server["w"].tolist() == pytest.approx([1.5, 3])


def test_the_control_variates_correct_the_second_round():
    run = quadratic.simulator(Scaffold(), rounds=2)
    run.run()
    assert run.state.optimiser_local[0]["scaffold.w"].tolist() == pytest.approx([-2.25, 3])
    assert run.state.optimiser_local[1]["scaffold.w"].tolist() == pytest.approx([1.5, -4.5])
    assert run.state.optimiser_memory[0]["w"].tolist() == pytest.approx([-0.375, -0.75])
    assert run.state.server["w"].tolist() == pytest.approx([1.875, 3.75])


def test_with_momentum_a_control_variate_is_a_weighted_mean_of_gradients():
    """Momentum 1/2: gradient -4 moves w to 2; then -2 with velocity -4 to 4. The first counts 1 + 1/2, the second 1."""
    run = quadratic.simulator(Scaffold(), rounds=1, momentum=0.5)
    run.run()
    assert run.state.optimiser_local[0]["scaffold.w"].tolist() == pytest.approx([(1.5 * -4 + 1 * -2) / 2.5, 0])


@pytest.mark.parametrize(("momentum", "moved"), [(0.0, 3 * 0.1), (0.5, 0.1 * (1 + 1.5 + 1.75)), (0.9, 0.1 * 5.61)])
def test_the_reach_is_the_distance_of_sgd_under_a_constant_gradient_of_one(momentum, moved):
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([w], lr=0.1, momentum=momentum)
    for _ in range(3):
        w.grad = torch.ones_like(w)
        sgd.step()
    assert momentum_reach(3, 0.1, momentum) == pytest.approx(moved)
    assert momentum_reach(3, 0.1, momentum) == pytest.approx(-w.item())


@pytest.mark.parametrize("name", OPTIMISED)
def test_the_first_round_equals_the_method_without_it_exactly(name):
    once, parent = new(f"{name}+scaffold", rounds=1), new(name, rounds=1)
    once.run()
    parent.run()
    assert same(once.state.server.tensors, parent.state.server.tensors)


def test_the_servers_control_variate_is_the_mean_over_all_clients():
    """Of all that train, those not sampled yet holding zero; so it was for classes that a client does not hold."""
    run = toy.ran("pep-fedpt+scaffold", of=toy.unequal(), rounds=3, participation=0.34)
    assert 0 < len(run.state.optimiser_local) < 3
    for name, value in run.state.optimiser_memory[0].items():
        total = sum(kept[f"scaffold.{name}"] for kept in run.state.optimiser_local.values())
        np.testing.assert_allclose(value, total / 3, atol=1e-6)


def test_control_variates_of_classes_without_samples_are_zero():
    run = ran("pep-fedpt+scaffold").simulator
    moved = run.state.optimiser_local[1]["scaffold.class_prompts"].flatten(1).ne(0).any(1)
    assert moved.tolist() == [True, True, False, False]


class Slow(quadratic.Quadratic):
    """A step at half the rate before a step at the run's."""

    def phases(self):
        return Phase(epochs=1, lr=0.25), Phase(epochs=1)


def test_the_steps_of_a_phase_use_its_own_learning_rate():
    """At client 0 gradient -4 moves w to 1 and gradient -3 to 2.5; the first counts a quarter, the second a half."""
    run = quadratic.simulator(Scaffold(), rounds=1, method=Slow())
    run.run()
    assert run.state.optimiser_local[0]["scaffold.w"].tolist() == pytest.approx([(0.25 * -4 + 0.5 * -3) / 0.75, 0])


class OwnRate(quadratic.Quadratic):
    """The tensor has a quarter of the run's learning rate, in spite of its phase."""

    learning_rates = {"w": 0.125}

    def phases(self):
        return (Phase(epochs=1, lr=1.0),)


def test_a_control_variate_uses_the_learning_rate_of_its_tensor():
    """The drift over one step, divided by its rate, is the gradient -4."""
    run = quadratic.simulator(Scaffold(), rounds=1, method=OwnRate())
    run.run()
    assert run.state.optimiser_local[0]["scaffold.w"].tolist() == pytest.approx([-4, 0])
