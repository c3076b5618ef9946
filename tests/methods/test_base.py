import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.batch import Batch, Clients
from fedprompt.methods import Method, Optimiser, Phase, State, Uploads, hyperparameter, registry
from fedprompt.methods.fedvpt import FedVPT
from tests import toy


def uploads(**shared):
    """Two clients, of one and three samples."""
    return Uploads([4, 7], torch.tensor([1.0, 3.0]), shared, {})


def test_the_mean_is_weighted_by_sample_counts():
    assert uploads(w=torch.tensor([[0.0, 8.0], [4.0, 0.0]])).mean("w").tolist() == [3.0, 2.0]


def test_the_mean_of_scalars_is_a_scalar_in_the_precision_of_the_tensor():
    mean = uploads(s=torch.tensor([4.0, 8.0], dtype=torch.float64)).mean("s")
    assert (mean.shape, mean.dtype, float(mean)) == ((), torch.float64, 7.0)


def test_the_server_averages_what_is_shared_and_keeps_the_rest():
    server = {"w": torch.zeros(1), "table": torch.tensor([5.0])}
    after = Method().combine(server, uploads(w=torch.tensor([[4.0], [8.0]])))
    assert {key: value.tolist() for key, value in after.items()} == {"w": [7.0], "table": [5.0]}
    assert server["w"].tolist() == [0.0]


def test_combine_applies_statistics_in_addition_to_averaging():
    class Folding(Method):
        def apply_statistics(self, server, statistics):
            return {"table": server["table"] + statistics["count"]}

    server = {"w": torch.zeros(1), "table": torch.tensor([5.0])}
    sent = Uploads([0], torch.tensor([2.0]), {"w": torch.tensor([[3.0]])}, {"count": torch.tensor([4.0])})
    after = Folding().combine(server, sent)
    assert {key: value.tolist() for key, value in after.items()} == {"w": [3.0], "table": [9.0]}


def test_an_empty_method_shares_nothing_and_cannot_predict():
    class Empty(Method):
        pass

    state: State = {}
    assert Empty().shared(toy.vit(), lambda _: torch.Generator()) == {}
    assert [(phase.trains, phase.epochs, phase.lr) for phase in Empty().phases()] == [(None, None, None)]
    with pytest.raises(NotImplementedError, match="Empty does not implement logits"):
        Empty().logits(toy.vit(), None, state)


def test_the_default_loss_is_the_cross_entropy_of_each_sample():
    class Fixed(Method):
        def logits(self, vit, batch, state):
            return torch.tensor([[0.0, 0.0], [0.0, np.log(3)]])

    batch = Batch(toy.train_samples(), [np.arange(2)], Clients.of(np.ones((1, 2)), "cpu"))
    batch.labels = torch.tensor([1, 0])
    loss = Fixed().loss(toy.vit(), batch, {})
    np.testing.assert_allclose(loss.numpy(), [np.log(2), np.log(4)], rtol=1e-6)


def test_an_empty_optimiser_changes_nothing():
    averaged = {"w": torch.ones(1)}
    after, memory = Optimiser().server_step({"w": torch.zeros(1)}, averaged, {})
    assert after is averaged
    assert memory == {}
    assert Optimiser().penalty({"w": torch.ones(1, 1)}, {"w": torch.zeros(1, 1)}) is None


def test_fields_are_listed_in_their_order_with_those_of_the_parent_first():
    class Parent(Method):
        tokens: int = hyperparameter(10, "tokens")

    class Child(Parent):
        width: float = hyperparameter(0.5, "width")

    assert list(Child(tokens=10, width=2.0).fields().items()) == [("tokens", 10), ("width", 2.0)]


@pytest.fixture
def two_phases(registry_tables):
    """A method that trains its head for one epoch, then its prompt for two without moving it (a rate of zero)."""

    @registry.register("two-phases", paper="none", year=2026, family="test")
    class TwoPhases(FedVPT):
        def phases(self):
            return Phase(("head.weight", "head.bias"), epochs=1), Phase(("prompt",), epochs=2, lr=0.0)

    return "two-phases"


def test_a_phase_trains_only_what_it_names_for_its_epochs_and_at_its_rate(two_phases):
    simulator = toy.simulator(two_phases, of=toy.unequal(), rounds=1)
    before = dict(simulator.state.server.tensors)
    outcome = simulator.run()
    moved = {key: float((simulator.state.server[key] - before[key]).norm()) for key in before}
    assert moved["prompt"] < 1e-6 < 1e-2 < moved["head.weight"]
    assert outcome.images["train"] == 3 * (21 + 10 + 15)
