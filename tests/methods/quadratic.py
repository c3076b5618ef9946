"""A model of two parameters at two clients, whose federated training can be followed by hand."""

import torch
from torch import Tensor

from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods.base import Backbone, Batch, Method, State
from fedprompt.methods.base import Streams as Generators
from fedprompt.methods.optimiser import Optimiser
from fedprompt.methods.registry import Recipe
from tests import toy

TARGETS = torch.tensor([[4.0, 0.0], [0.0, 8.0], [0.0, 0.0], [0.0, 0.0]])
"""Of each class; client 0 holds the first alone and client 1 the second."""


class Quadratic(Method):
    """Half the squared distance of w from the target of a sample's class: at a client the gradient is w - target."""

    name = "quadratic"

    def shared(self, vit: Backbone, rng: Generators) -> State:
        return {"w": torch.zeros(2)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return batch.own(state["w"]) @ TARGETS.T

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return (batch.own(state["w"]) - TARGETS[batch.labels]).square().sum(1) / 2


def simulator(optimiser: Optimiser, rounds: int, momentum: float = 0.0, method: Quadratic | None = None) -> Simulator:
    """Two clients of as many samples, each in every round: two steps of learning rate 1/2 from zero, on all samples."""
    of = toy.deal([toy.rows_of(0), toy.rows_of(1)], [toy.rows_of(0, part="test"), toy.rows_of(1, part="test")])
    training = LocalTraining(epochs=2, batch_size=60, lr=0.5, momentum=momentum, weight_decay=0.0)
    protocol = RoundSettings(rounds, 1.0, rounds, training)
    recipe = Recipe(f"quadratic+{optimiser.name}", method or Quadratic(), (optimiser,))
    streams = RandomStreams(toy.dataset().identity, "toy", 0)
    return Simulator(
        recipe, toy.vit(), toy.train_samples(), toy.test_samples(), of, streams, protocol, Executor("sequential")
    )
