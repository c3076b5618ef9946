"""Deep visual prompts, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams, hyperparameter
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, replace_after_cls, vpt_uniform
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "fedvpt-deep",
    paper="Jia et al., Visual Prompt Tuning, ECCV; averaged",
    year=2022,
    family="global prompts",
    variants={"append": {"mode": "append"}},
)
class FedVPTDeep(Method):
    """VPT-deep: fresh prompt tokens at every layer, and a linear head, averaged over clients."""

    tokens: int = hyperparameter(10, "prompt tokens at each layer", low=1)
    mode: Literal["replace", "append"] = hyperparameter(
        "replace", "replace the last layer's prompts (VPT), or add to them"
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompts": vpt_uniform(vit, (vit.depth, self.tokens), rng), **linear_head(vit, rng)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C] with prompts of its own before every layer, in place of the last or beside them."""
        x = vit.embed(batch)
        put = replace_after_cls if self.mode == "replace" else insert_after_cls
        for layer in range(1, vit.depth + 1):
            prompts = batch.own(state["prompts"][:, layer - 1])
            x = insert_after_cls(x, prompts) if layer == 1 else put(x, prompts)
            if layer < vit.depth:
                x = vit.layers(x, layer, layer)
        return classify(batch, vit.encode(x, first=vit.depth), state)
