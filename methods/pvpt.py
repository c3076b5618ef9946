"""pVPT: personal prompts under an averaged head."""

from __future__ import annotations

from fedprompt.methods import Backbone, State, Streams, register
from fedprompt.methods.components.prompts import linear_head, vpt_uniform
from fedprompt.methods.fedvpt import FedVPT


@register(
    "pvpt",
    paper="Pillutla et al., Federated learning with partial model personalization, ICML; on prompts",
    url="https://arxiv.org/abs/2204.03809",
    year=2022,
    family="personal prompts",
)
class PersonalVPT(FedVPT):
    """VPT-shallow with personal prompts and an averaged head, trained jointly (FedSim)."""

    personalised = True
    seen_with = "its personal prompt under the averaged head"
    held_out_with = "the mean of the clients' prompts under the averaged head"
    deviations = ("personalises prompts of a frozen ViT; the paper personalises layers of a trained network",)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return linear_head(vit, rng)

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {"prompt": vpt_uniform(vit, (self.tokens,), rng)}
