"""FedVPT: averaged shallow visual prompts."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, State, Streams, hyperparameter, register
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.lazy import Tensor


@register(
    "fedvpt",
    paper="Jia et al., Visual Prompt Tuning, ECCV; averaged",
    url="https://arxiv.org/abs/2203.12119",
    year=2022,
    family="global prompts",
)
class FedVPT(Method):
    """VPT-shallow: averages prompt tokens, inserted after cls at the first layer, and a linear head."""

    tokens: int = hyperparameter(10, "prompt tokens at the first layer", low=1)
    local_optimiser = "SGD, momentum 0.9 (KMnP/vpt, src/configs/config.py)"

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": vpt_uniform(vit, (self.tokens,), rng), **linear_head(vit, rng)}

    def feature(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """The cls feature [B, D] of each image with prompts."""
        return vit.encode(insert_after_cls(vit.embed(batch), batch.own(state["prompt"])))

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return classify(batch, self.feature(vit, batch, state), state)
