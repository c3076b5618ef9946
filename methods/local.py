"""Local: every client trains alone."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.fedvpt import FedVPT


@register(
    "local",
    paper="Jia et al., Visual Prompt Tuning, ECCV; no federation",
    url="https://arxiv.org/abs/2203.12119",
    year=2022,
    family="personal prompts",
)
class Local(FedVPT):
    """VPT-shallow trained by each client alone. Nothing is shared, so a held-out client has no model."""

    personalised = True
    held_out = shares = False
    seen_with = "its personal prompt and head"
    held_out_with = "nothing: it has no model"
    local_optimiser = "SGD, momentum 0.9 (KMnP/vpt, src/configs/config.py)"
    deviations: ClassVar[tuple[str, ...]] = (
        "a client trains only in rounds that sample it, as in TsingZ0/PFLlib system/flcore/servers/serverlocal.py and "
        "KarhouTam/FL-bench src/server/local.py, so that it takes as many steps as with a federated method; if every "
        "client trains in every round (--participation 1), it scores 89.2 in place of 78.8 % at alpha 0.05 and 81.4 in "
        "place of 65.5 % at alpha 0.5, with four times as many steps (embedded default on digits, seeds 0 to 2)",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {}

    def local(self, vit: Backbone, rng: Streams) -> State:
        return FedVPT.shared(self, vit, rng)
