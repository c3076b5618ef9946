"""FedYogi: Yogi on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.lazy import torch
from fedprompt.methods.optimisers.fedadam import PAPER, FedAdam
from fedprompt.methods.registry import register_optimiser

if TYPE_CHECKING:
    from torch import Tensor


@register_optimiser("fedyogi", paper=PAPER, year=2021)
class FedYogi(FedAdam):
    """FedAdam whose second moment forgets no faster than it learns: v <- v - (1 - b2) delta^2 sign(v - delta^2)."""

    def second(self, v: Tensor, square: Tensor) -> Tensor:
        return v - (1 - self.beta2) * square * torch.sign(v - square)
