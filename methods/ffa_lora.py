"""FFA-LoRA: LoRA with a frozen factor A, so that averaging B averages the product."""

from __future__ import annotations

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head


@register(
    "ffa-lora",
    paper="Sun et al., Improving LoRA in privacy-preserving federated learning, ICLR",
    url="https://arxiv.org/abs/2403.12313",
    year=2024,
    family="parameter-efficient tuning",
)
class FFALoRA(LoRA):
    """A is drawn once for all clients and never trained; B and the head are averaged (section 4)."""

    version = 2
    deviations = (
        "no differential privacy; tunes a Vision Transformer with a linear head",
        "every download includes A, where a seed would suffice",
        "rank 4 and alpha / r = 2 on q and v, as in the whole LoRA family; no official code was found",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {**self.initial_b(vit), **linear_head(vit, rng)}

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return self.initial_a(vit, rng)
