"""FedSA-LoRA: LoRA with an averaged factor A and a personal factor B."""

from __future__ import annotations

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.components.lora import LoRA
from fedprompt.methods.components.prompts import linear_head


@register(
    "fedsa-lora",
    paper="Guo et al., Selective aggregation for low-rank adaptation in federated learning, ICLR",
    url="https://arxiv.org/abs/2410.01463",
    year=2025,
    family="parameter-efficient tuning",
    variants={"paper": {"rank": 8, "alpha": 16.0, "targets": "q,v"}},
)
class FedSALoRA(LoRA):
    """Averages A; B and the head are personal. A held-out client uses the mean B and the mean head.

    The variant `paper` has the rank of the official configurations.
    """

    version = 2
    personalised = True
    seen_with = "the averaged A with its own B and head"
    held_out_with = "the averaged A with the mean of the clients' B and heads"
    local_optimiser = "SGD 0.02 (Pengxin-Guo/FedSA-LoRA, federatedscope/glue/yamls/fedsa-lora.yaml)"
    deviations = (
        "tunes a Vision Transformer; the linear head is personal, as in the official configuration",
        "rank 4, as in the whole LoRA family; Pengxin-Guo/FedSA-LoRA federatedscope/glue/yamls/fedsa-lora.yaml has "
        "rank 8 (fedsa-lora:paper), with the same alpha / r = 2",
        "no dropout before A; the official configuration has 0.05",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return self.initial_a(vit, rng)

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {**self.initial_b(vit), **linear_head(vit, rng)}
