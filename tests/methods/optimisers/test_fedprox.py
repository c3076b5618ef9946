import pytest
import torch

from fedprompt.methods import MethodError, registry
from fedprompt.methods.optimisers.fedprox import FedProx
from tests import toy


def test_the_penalty_is_half_mu_times_the_squared_distance_of_each_client():
    received = {"a": torch.tensor([[1.0], [1.0]]), "b": torch.tensor([[0.0], [2.0]])}
    state = {"a": torch.tensor([[4.0], [1.0]]), "b": torch.tensor([[4.0], [3.0]])}
    penalty = FedProx(mu=0.5).penalty(state, received)
    assert penalty.tolist() == [0.25 * (9 + 16), 0.25 * (0 + 1)]


def test_the_gradient_points_away_from_the_received_weights():
    w = torch.tensor([[4.0, -1.0]], requires_grad=True)
    penalty = FedProx(mu=0.5).penalty({"w": w}, {"w": torch.tensor([[1.0, 1.0]])})
    (gradient,) = torch.autograd.grad(penalty.sum(), w)
    assert gradient.tolist() == [[0.5 * 3, 0.5 * -2]]


def test_without_shared_tensors_there_is_no_penalty():
    assert FedProx(mu=0.01).penalty({}, {}) is None


def test_a_larger_mu_keeps_clients_closer_to_the_received_model():
    def drift(mu):
        simulator = toy.simulator("head+fedprox", settings={"fedprox": {"mu": mu}}, rounds=1)
        before = simulator.state.server["head.weight"]
        simulator.run()
        return float((simulator.state.server["head.weight"] - before).norm())

    assert drift(10.0) < drift(1.0) < drift(0.0)


@pytest.mark.parametrize(("optimiser", "weight"), [("fedprox", "mu"), ("feddyn", "alpha")])
def test_a_negative_weight_is_refused(optimiser, weight):
    with pytest.raises(MethodError, match="it must be at least 0"):
        registry.create(f"fedvpt+{optimiser}", {optimiser: {weight: -1}})
