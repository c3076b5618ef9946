"""LoRA with one factor frozen, so that averaging the other averages the product."""

from __future__ import annotations

from fedprompt.methods.base import Backbone, State, Streams
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head
from fedprompt.methods.registry import register


@register(
    "ffa-lora",
    paper="Sun et al., Improving LoRA in privacy-preserving federated learning, ICLR",
    year=2024,
    family="parameter-efficient tuning",
)
class FFALoRA(LoRA):
    """A is drawn once, the same for all, and never trained; B and the head are averaged (its section 4)."""

    deviations = (
        "without differential privacy, on a Vision Transformer with a linear head",
        "A is counted in every download, where a seed would do",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"lora.B": self.start(vit, rng)[1], **linear_head(vit, rng)}

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {"lora.A": self.start(vit, rng)[0]}
