"""LoRA with one factor for all and one for each."""

from __future__ import annotations

from fedprompt.methods.base import Backbone, State, Streams
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head
from fedprompt.methods.registry import register


@register(
    "fedsa-lora",
    paper="Guo et al., Selective aggregation for low-rank adaptation in federated learning, ICLR",
    year=2025,
    family="parameter-efficient tuning",
)
class FedSALoRA(LoRA):
    """A is averaged, B and the head stay with each client; a held-out client takes the mean B and the mean head."""

    personalised = True
    seen_with = "the averaged A with its own B and head"
    held_out_with = "the averaged A with the mean of the clients' B and heads"
    deviations = (
        "on a Vision Transformer with a linear head, which each client keeps as in the official configuration",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"lora.A": self.start(vit, rng)[0]}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {"lora.B": self.start(vit, rng)[1], **linear_head(vit, rng)}
