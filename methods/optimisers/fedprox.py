"""FedProx: a proximal term in the client's loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import State, hyperparameter
from fedprompt.methods.lazy import torch
from fedprompt.methods.optimiser import Optimiser
from fedprompt.methods.registry import register_optimiser

if TYPE_CHECKING:
    from torch import Tensor


@register_optimiser("fedprox", paper="Li et al., Federated optimization in heterogeneous networks, MLSys", year=2020)
class FedProx(Optimiser):
    """Adds mu/2 |w - w_t|^2 over the shared tensors to the client's loss (its equation 2)."""

    within_round = True
    mu: float = hyperparameter(0.01, "weight of the proximal term", low=0)

    def penalty(self, state: State, received: State) -> Tensor | None:
        if not state:
            return None
        distances = [(state[name] - received[name]).square().flatten(1).sum(1) for name in state]
        return self.mu / 2 * torch.stack(distances).sum(0)
