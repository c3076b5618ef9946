"""Head: an averaged linear probe, the baseline for every claim about prompts."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, State, Streams, register
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.lazy import Tensor


@register(
    "head",
    paper="McMahan et al., Communication-efficient learning, AISTATS",
    url="https://arxiv.org/abs/1602.05629",
    year=2017,
    family="head",
)
class Head(Method):
    """Averages a linear head on the frozen cls feature; no prompts."""

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return classify(batch, vit.features(batch), state)
