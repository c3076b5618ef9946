"""Local: every client trains alone."""

from __future__ import annotations

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.fedvpt import FedVPT


@register("local", paper="Jia et al., Visual Prompt Tuning, ECCV; no federation", year=2022, family="personal prompts")
class Local(FedVPT):
    """VPT-shallow trained by each client alone. Nothing is shared, so a held-out client has no model."""

    personalised = True
    held_out = shares = False
    seen_with = "its personal prompt and head"
    held_out_with = "nothing: it has no model"
    local_optimiser = "SGD, momentum 0.9 (KMnP/vpt, src/configs/config.py)"

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return FedVPT.shared(self, vit, rng)
