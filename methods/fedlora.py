"""FedLoRA: LoRA with separately averaged factors."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head


@register(
    "fedlora",
    paper="Zhang et al., Towards building the federated GPT (FedIT), ICASSP",
    url="https://arxiv.org/abs/2305.05644",
    year=2024,
    family="parameter-efficient tuning",
    variants={"fedit": {"rank": 16, "alpha": 16.0, "targets": "q"}},
)
class FedLoRA(LoRA):
    """Averages A, B and the head separately; the product of the averages is not the average product B A.

    The variant `fedit` has the rank, alpha and target layer of FedIT's code.
    """

    version = 2
    local_optimiser = "AdamW 3e-4 (JayZhang42/FederatedGPT-Shepherd, main.py, fed_utils/client.py)"
    deviations: ClassVar[tuple[str, ...]] = (
        "tunes a Vision Transformer with a linear head; the paper tunes language models on instructions",
        "rank 4 and alpha / r = 2 on q and v, as in the whole LoRA family; JayZhang42/FederatedGPT-Shepherd main.py "
        "has rank 16 and alpha / r = 1 on q (fedlora:fedit)",
        "no dropout before A; the official code has 0.05, and trains with AdamW",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {**self.initial_a(vit, rng), **self.initial_b(vit), **linear_head(vit, rng)}
