"""FedSA-LoRA: LoRA with an averaged factor A and a personal factor B."""

from __future__ import annotations

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head


@register(
    "fedsa-lora",
    paper="Guo et al., Selective aggregation for low-rank adaptation in federated learning, ICLR",
    year=2025,
    family="parameter-efficient tuning",
)
class FedSALoRA(LoRA):
    """Averages A; B and the head are personal. A held-out client uses the mean B and the mean head."""

    personalised = True
    seen_with = "the averaged A with its own B and head"
    held_out_with = "the averaged A with the mean of the clients' B and heads"
    local_optimiser = "SGD 0.02 (Pengxin-Guo/FedSA-LoRA, federatedscope/glue/yamls/fedsa-lora.yaml)"
    deviations = ("tunes a Vision Transformer; the linear head is personal, as in the official configuration",)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"lora.A": self.initial_factors(vit, rng)[0]}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {"lora.B": self.initial_factors(vit, rng)[1], **linear_head(vit, rng)}
