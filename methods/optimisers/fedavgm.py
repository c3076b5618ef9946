"""FedAvgM: momentum on the server."""

from __future__ import annotations

from fedprompt.methods import Optimiser, State, hyperparameter, register_optimiser
from fedprompt.methods.lazy import torch
from fedprompt.methods.optimisers.server_rates import rate


@register_optimiser(
    "fedavgm",
    paper="Hsu et al., Non-identical data distribution, arXiv 1909.06335",
    url="https://arxiv.org/abs/1909.06335",
    year=2019,
)
class FedAvgM(Optimiser):
    """The server applies momentum to the mean client update delta: v <- beta v + delta, w <- w - lr v."""

    beta: float = hyperparameter(0.9, "momentum of the server", low=0, high=1)
    lr: float = hyperparameter(1.0, "learning rate of the server", low=0)
    head_lr: float | None = hyperparameter(None, "learning rate of the server for the head; None: lr", low=0)

    version = 2

    def memory(self, shared: State) -> State:
        return {name: torch.zeros_like(value) for name, value in shared.items()}

    def server_step(self, before: State, averaged: State, memory: State) -> tuple[State, State]:
        velocity, new = {}, {}
        for name, mean in averaged.items():
            delta, lr = before[name] - mean, rate(name, self.lr, self.head_lr)
            velocity[name] = self.beta * memory[name] + delta
            # w - lr v, rearranged so that lr = 1 and beta = 0 give exactly the mean.
            new[name] = mean + (1 - lr) * delta - lr * self.beta * memory[name]
        return new, velocity
