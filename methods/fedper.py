"""FedPer: averaged prompts under personal heads."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.components.prompts import linear_head, vpt_uniform
from fedprompt.methods.fedvpt import FedVPT


@register(
    "fedper",
    paper="Arivazhagan et al., Personalization layers, arXiv 1912.00818",
    url="https://arxiv.org/abs/1912.00818",
    year=2019,
    family="personal prompts",
)
class FedPer(FedVPT):
    """VPT-shallow with averaged prompts and personal heads, trained jointly."""

    personalised = True
    seen_with = "the averaged prompt under its personal head"
    held_out_with = "the averaged prompt under the mean of the clients' heads"
    deviations: ClassVar[tuple[str, ...]] = ("the averaged body consists of the prompt, since the backbone is frozen",)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": vpt_uniform(vit, (self.tokens,), rng)}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)
