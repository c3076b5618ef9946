"""FedProx: a proximal term in the client's loss."""

from __future__ import annotations

from fedprompt.methods import Optimiser, State, hyperparameter, register_optimiser
from fedprompt.methods.lazy import Tensor, torch


@register_optimiser(
    "fedprox",
    paper="Li et al., Federated optimization in heterogeneous networks, MLSys",
    url="https://arxiv.org/abs/1812.06127",
    year=2020,
)
class FedProx(Optimiser):
    """Adds mu/2 |w - w_t|^2 over the shared tensors to each client's loss (equation 2)."""

    within_round = True
    mu: float = hyperparameter(0.01, "weight of the proximal term", low=0)

    def penalty(self, state: State, received: State) -> Tensor | None:
        if not state:
            return None
        distances = [(state[name] - received[name]).square().flatten(1).sum(1) for name in state]
        return self.mu / 2 * torch.stack(distances).sum(0)
