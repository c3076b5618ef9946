import pytest
import torch

from fedprompt.methods import registry
from fedprompt.methods.errors import MethodError
from fedprompt.methods.optimisers.fedprox import FedProx
from tests import toy


def test_the_penalty_is_half_mu_times_the_squared_distance_of_each_client() -> None:
    received = {"a": torch.tensor([[1.0], [1.0]]), "b": torch.tensor([[0.0], [2.0]])}
    state = {"a": torch.tensor([[4.0], [1.0]]), "b": torch.tensor([[4.0], [3.0]])}
    penalty = FedProx(mu=0.5).penalty(state, received)
    assert penalty is not None
    assert penalty.tolist() == [0.25 * (9 + 16), 0.25 * (0 + 1)]


def test_its_gradient_draws_each_weight_back_to_where_the_round_began() -> None:
    w = torch.tensor([[4.0, -1.0]], requires_grad=True)
    penalty = FedProx(mu=0.5).penalty({"w": w}, {"w": torch.tensor([[1.0, 1.0]])})
    assert penalty is not None
    (gradient,) = torch.autograd.grad(penalty.sum(), w)
    assert gradient.tolist() == [[0.5 * 3, 0.5 * -2]]


def test_nothing_shared_means_no_penalty() -> None:
    assert FedProx(mu=0.01).penalty({}, {}) is None


def test_a_strong_pull_keeps_the_client_near_what_it_received() -> None:
    def drift(mu: float) -> float:
        simulator = toy.simulator("head+fedprox", settings={"fedprox": {"mu": mu}}, rounds=1)
        before = simulator.state.server["head.weight"]
        simulator.run()
        return float((simulator.state.server["head.weight"] - before).norm())

    assert drift(10.0) < drift(1.0) < drift(0.0)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(MethodError, match="it must be at least 0"):
        registry.create("fedvpt+fedprox", {"fedprox": {"mu": -1}})
