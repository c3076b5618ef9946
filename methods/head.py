"""Head-tuning: a linear probe, averaged. The control without which no claim about prompts stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("head", paper="McMahan et al., Communication-efficient learning, AISTATS", year=2017, family="head")
class Head(Method):
    """A linear head on the frozen cls feature, averaged over clients; no prompt."""

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return classify(batch, vit.features(batch), state)
