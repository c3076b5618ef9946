"""FedBias: averaged bias terms of the backbone."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, State, Streams, register
from fedprompt.methods.components.edits import require_editable
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.lazy import Tensor, torch

PARTS = ("q", "k", "v")


@register(
    "fedbias",
    paper="Sun et al., Conquering the communication constraints (FedPEFT), arXiv 2210.01708",
    url="https://arxiv.org/abs/2210.01708",
    year=2022,
    family="parameter-efficient tuning",
)
class FedBias(Method):
    """Averages all biases of the patch embedding, the blocks and the final norm, and a linear head."""

    deviations = (
        "trains offsets to the pre-trained biases, so weight decay pulls towards these and not towards zero",
        "key biases are uploaded although attention does not depend on them, as in the published parameter count",
        "every backbone has offsets at the same places: also where it has no bias, as for the keys of EVA blocks with "
        "rotary positions, on which attention depends; biases of norms inside attention or the MLP stay frozen",
    )

    def check(self, vit: Backbone) -> None:
        require_editable(self.name, vit)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """Offsets, all zero: 7 D + fc1's width per layer, and D each for the patch embedding and the final norm."""
        widths = {"norm1": 1, "qkv": 3, "proj": 1, "norm2": 1, "fc2": 1}
        biases = {f"bias.{point}": torch.zeros(vit.depth, n * vit.dim) for point, n in widths.items()}
        ends = {name: torch.zeros(vit.dim) for name in ("bias.patch", "bias.norm")}
        return {**biases, "bias.fc1": torch.zeros(vit.depth, vit.fc1_width), **ends, **linear_head(vit, rng)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C], with the offsets added to all biases."""

        def edit(point: str, layer: int, x: Tensor, out: Tensor) -> Tensor:
            """Adds the offsets of the layer and place; biases of attention and MLP act before the next operation."""
            if point == "mlp":
                return out
            if point == "norm":
                bias = state["bias.norm"]
            elif point in PARTS:
                bias = state["bias.qkv"][:, layer - 1].chunk(3, dim=1)[PARTS.index(point)]
            else:
                bias = state[f"bias.{point}"][:, layer - 1]
            return out + batch.own(bias).unsqueeze(1)

        x, first = vit.embed(batch), 1 + vit.registers  # the patch embedding has no bias at cls and registers
        x = torch.cat([x[:, :first], x[:, first:] + batch.own(state["bias.patch"]).unsqueeze(1)], dim=1)
        return classify(batch, vit.encode(x, edit=edit), state)
