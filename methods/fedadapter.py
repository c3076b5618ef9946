"""Bottleneck adapters after the MLPs, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams, hyperparameter
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.lazy import functional, torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "fedadapter",
    paper="Sun et al., Conquering the communication constraints (FedPEFT), arXiv 2210.01708",
    year=2022,
    family="parameter-efficient tuning",
)
class FedAdapter(Method):
    """At every layer x + U gelu(D x + d) + u of the MLP's output x, and a linear head, averaged over clients."""

    width: int = hyperparameter(64, "r, the width of the bottleneck", low=1)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """The way down [L, D, r] from uniform(-1/sqrt(D), 1/sqrt(D)); the way up [L, r, D] and both biases zero."""
        limit = vit.dim**-0.5
        down = torch.empty(vit.depth, vit.dim, self.width).uniform_(-limit, limit, generator=rng("adapter"))
        return {
            "down.weight": down,
            "down.bias": torch.zeros(vit.depth, self.width),
            "up.weight": torch.zeros(vit.depth, self.width, vit.dim),
            "up.bias": torch.zeros(vit.depth, vit.dim),
            **linear_head(vit, rng),
        }

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C] with each layer's adapter behind its MLP."""

        def edit(point: str, layer: int, x: Tensor, out: Tensor) -> Tensor:
            if point != "mlp":
                return out
            down, below, up, above = (
                state[name][:, layer - 1] for name in ("down.weight", "down.bias", "up.weight", "up.bias")
            )
            hidden = functional.gelu(batch.matmul(out, down) + batch.own(below).unsqueeze(1))
            return out + batch.matmul(hidden, up) + batch.own(above).unsqueeze(1)

        return classify(batch, vit.encode(vit.embed(batch), edit=edit), state)
