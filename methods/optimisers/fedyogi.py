"""FedYogi: Yogi on the server."""

from __future__ import annotations

from fedprompt.methods import register_optimiser
from fedprompt.methods.lazy import Tensor, torch
from fedprompt.methods.optimisers.fedadam import PAPER, FedAdam


@register_optimiser("fedyogi", paper=PAPER, url="https://arxiv.org/abs/2003.00295", year=2021)
class FedYogi(FedAdam):
    """FedAdam with the second moment v <- v - (1 - b2) delta^2 sign(v - delta^2) (Algorithm 2)."""

    def second(self, v: Tensor, square: Tensor) -> Tensor:
        return v - (1 - self.beta2) * square * torch.sign(v - square)
