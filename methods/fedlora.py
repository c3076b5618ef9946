"""LoRA, its two factors averaged apart."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods.base import Backbone, State, Streams
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head
from fedprompt.methods.registry import register


@register(
    "fedlora",
    paper="Zhang et al., Towards building the federated GPT (FedIT), ICASSP",
    year=2024,
    family="parameter-efficient tuning",
)
class FedLoRA(LoRA):
    """A, B and the head averaged, each by itself: the mean of the products B A is not what clients then receive."""

    deviations: ClassVar[tuple[str, ...]] = (
        "on a Vision Transformer with a linear head; the paper tunes language models on instructions",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        a, b = self.start(vit, rng)
        return {"lora.A": a, "lora.B": b, **linear_head(vit, rng)}
