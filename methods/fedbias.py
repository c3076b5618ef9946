"""The frozen backbone's bias terms, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.errors import MethodError
from fedprompt.methods.lazy import torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("q", "k", "v")


@register(
    "fedbias",
    paper="Sun et al., Conquering the communication constraints (FedPEFT), arXiv 2210.01708",
    year=2022,
    family="parameter-efficient tuning",
)
class FedBias(Method):
    """Every bias of the patch embedding, the blocks and the final norm, and a linear head, averaged over clients."""

    deviations = (
        "trained is what is added to each pre-trained bias, so weight decay pulls to that and not to zero",
        "the biases of keys travel though attention does not depend on them, as in the published count",
    )

    def check(self, vit: Backbone) -> None:
        if not vit.hidden:
            raise MethodError(f"{self.name}: this backbone's blocks are not plain, so their biases are out of reach.")

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """What is added: 11 D + hidden values a layer, and D each at the patch embedding and the final norm."""
        widths = {"norm1": 1, "qkv": 3, "proj": 1, "norm2": 1, "fc2": 1}
        biases = {f"bias.{point}": torch.zeros(vit.depth, n * vit.dim) for point, n in widths.items()}
        ends = {name: torch.zeros(vit.dim) for name in ("bias.patch", "bias.norm")}
        return {**biases, "bias.fc1": torch.zeros(vit.depth, vit.hidden), **ends, **linear_head(vit, rng)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C] with every bias moved by what was trained."""

        def edit(point: str, layer: int, x: Tensor, out: Tensor) -> Tensor:
            """What leaves a point of a layer, with its own client's bias added."""
            if point == "mlp":
                return out
            if point == "norm":
                bias = state["bias.norm"]
            elif point in PARTS:
                bias = state["bias.qkv"][:, layer - 1].chunk(3, dim=1)[PARTS.index(point)]
            else:
                bias = state[f"bias.{point}"][:, layer - 1]
            return out + batch.own(bias).unsqueeze(1)

        x = vit.embed(batch)
        x = torch.cat([x[:, :1], x[:, 1:] + batch.own(state["bias.patch"]).unsqueeze(1)], dim=1)
        return classify(batch, vit.encode(x, edit=edit), state)
