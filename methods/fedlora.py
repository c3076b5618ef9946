"""FedLoRA: LoRA with separately averaged factors."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head


@register(
    "fedlora",
    paper="Zhang et al., Towards building the federated GPT (FedIT), ICASSP",
    year=2024,
    family="parameter-efficient tuning",
)
class FedLoRA(LoRA):
    """Averages A, B and the head separately; the product of the averages is not the average product B A."""

    local_optimiser = "AdamW 3e-4 (JayZhang42/FederatedGPT-Shepherd, main.py, fed_utils/client.py)"
    deviations: ClassVar[tuple[str, ...]] = (
        "tunes a Vision Transformer with a linear head; the paper tunes language models on instructions",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        a, b = self.initial_factors(vit, rng)
        return {"lora.A": a, "lora.B": b, **linear_head(vit, rng)}
