"""Averaged prompts under personal heads."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods.base import Backbone, State, Streams
from fedprompt.methods.components.prompts import linear_head, vpt_uniform
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.registry import register


@register(
    "fedper", paper="Arivazhagan et al., Personalization layers, arXiv 1912.00818", year=2019, family="personal prompts"
)
class FedPer(FedVPT):
    """VPT-shallow whose prompts are averaged while each client keeps its head; both train jointly."""

    personalised = True
    seen_with = "the averaged prompt under its own head"
    held_out_with = "the averaged prompt under the mean of the clients' heads"
    deviations: ClassVar[tuple[str, ...]] = (
        "the body that is averaged is the prompt alone, since the backbone is frozen",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": vpt_uniform(vit, (self.tokens,), rng)}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)
