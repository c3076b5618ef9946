"""FedAdapter: averaged bottleneck adapters after the MLPs."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, State, Streams, hyperparameter, register
from fedprompt.methods.components.edits import require_editable
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.lazy import Tensor, functional, torch


@register(
    "fedadapter",
    paper="Sun et al., Conquering the communication constraints (FedPEFT), arXiv 2210.01708",
    url="https://arxiv.org/abs/2210.01708",
    year=2022,
    family="parameter-efficient tuning",
)
class FedAdapter(Method):
    """Averages adapters x + U gelu(D x + d) + u on the MLP output x of every layer, and a linear head."""

    version = 2
    width: int | None = hyperparameter(None, "r, the width of the bottleneck; None: 1/12 of the backbone's", low=1)
    deviations = (
        "implemented from the paper: imguangyu/FedPEFT contains no code",
        "r is 1/12 of the backbone's width: 64 for a ViT-B, as in the paper, and 8 for the embedded backbone, where 64 "
        "scores 58.6 in place of 54.9 % at alpha 0.05 and 73.5 in place of 70.7 % at alpha 0.5 (digits, seeds 0 to 2)",
    )

    def bottleneck(self, vit: Backbone) -> int:
        """Width r of the bottleneck."""
        return self.width or max(1, round(vit.dim / 12))

    def check(self, vit: Backbone) -> None:
        require_editable(self.name, vit)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """Down-projections [L, D, r] from uniform(-1/sqrt(D), 1/sqrt(D)); up-projections [L, r, D] and biases zero."""
        limit, width = vit.dim**-0.5, self.bottleneck(vit)
        down = torch.empty(vit.depth, vit.dim, width).uniform_(-limit, limit, generator=rng("adapter"))
        return {
            "down.weight": down,
            "down.bias": torch.zeros(vit.depth, width),
            "up.weight": torch.zeros(vit.depth, width, vit.dim),
            "up.bias": torch.zeros(vit.depth, vit.dim),
            **linear_head(vit, rng),
        }

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C], with an adapter after the MLP of each layer."""

        def edit(point: str, layer: int, x: Tensor, out: Tensor) -> Tensor:
            """Adds the output of the layer's adapter."""
            if point != "mlp":
                return out
            down, down_bias, up, up_bias = (
                state[name][:, layer - 1] for name in ("down.weight", "down.bias", "up.weight", "up.bias")
            )
            hidden = functional.gelu(batch.matmul(out, down) + batch.own(down_bias).unsqueeze(1))
            return out + batch.matmul(hidden, up) + batch.own(up_bias).unsqueeze(1)

        return classify(batch, vit.encode(vit.embed(batch), edit=edit), state)
