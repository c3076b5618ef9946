"""FedVPT-deep: averaged deep visual prompts."""

from __future__ import annotations

from typing import Literal

from fedprompt.methods import Backbone, Batch, Method, State, Streams, hyperparameter, register
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, replace_after_cls, vpt_uniform
from fedprompt.methods.lazy import Tensor


@register(
    "fedvpt-deep",
    paper="Jia et al., Visual Prompt Tuning, ECCV; averaged",
    url="https://arxiv.org/abs/2203.12119",
    year=2022,
    family="global prompts",
    variants={"append": {"mode": "append"}},
)
class FedVPTDeep(Method):
    """VPT-deep: averages prompt tokens for every layer, and a linear head."""

    tokens: int = hyperparameter(10, "prompt tokens at each layer", low=1)
    mode: Literal["replace", "append"] = hyperparameter(
        "replace", "replace the previous layer's prompts (VPT), or append to them"
    )
    local_optimiser = "SGD, momentum 0.9 (KMnP/vpt, src/configs/config.py)"

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompts": vpt_uniform(vit, (vit.depth, self.tokens), rng), **linear_head(vit, rng)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C], with new prompts before every layer that replace or follow the previous ones."""
        x = vit.embed(batch)
        add_prompts = replace_after_cls if self.mode == "replace" else insert_after_cls
        for layer in range(1, vit.depth + 1):
            prompts = batch.own(state["prompts"][:, layer - 1])
            x = insert_after_cls(x, prompts) if layer == 1 else add_prompts(x, prompts)
            if layer < vit.depth:
                x = vit.layers(x, layer, layer)
        return classify(batch, vit.encode(x, first=vit.depth), state)
