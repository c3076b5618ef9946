"""An averaged head for every class alike, and beside it a personal one for the client's own classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, State, Streams, hyperparameter
from fedprompt.methods.components.prompts import classify
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import functional, torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "fedrod",
    paper="Chen and Chao, On bridging generic and personalized federated learning for image classification, ICLR",
    year=2022,
    family="personal prompts",
    variants={"generic": {"personal": False}},
)
class FedRoD(FedVPT):
    """Prompts and a generic head learn by balanced softmax and are averaged; a personal head, by plain cross-entropy.

    Balanced softmax adds the log of the client's class shares to the logits in training alone: it is the twin, in
    training, of the prior correction in testing. `fedrod:generic` has no personal head, and nothing personal.
    """

    personalised = True
    seen_with = "averaged prompts; the averaged generic head plus their personal one"
    held_out_with = "averaged prompts and generic head"
    gamma: float = hyperparameter(
        1.0, "exponent of the class counts in the balanced softmax; 0: plain cross-entropy", low=0
    )
    personal: bool = hyperparameter(True, "a personal head beside the generic one")
    deviations = (
        "from the paper's equations: its official repository holds no code",
        "the body that is averaged is the prompts alone, since the backbone is frozen",
        "the personal head begins with zeros, so that a client that never trained predicts with the generic head",
        "without the paper's hypernetwork, which makes a newcomer's personal head from its class shares",
        "not repeated from a peer: predictions with the personal head alone, and its loss reaching the prompts",
    )

    def local(self, vit: Backbone, rng: Streams) -> State:
        if not self.personal:
            return {}
        return {"personal.weight": torch.zeros(vit.classes, vit.dim), "personal.bias": torch.zeros(vit.classes)}

    def held_out_local(self, received: State, mean: State) -> State:
        return {name: torch.zeros_like(value) for name, value in mean.items()}  # which leaves the generic head

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        generic = classify(batch, z, state)
        return generic + personal_logits(batch, z, state) if self.personal else generic

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Balanced softmax of the generic head; and cross-entropy of both heads' sum, which trains the personal one.

        The personal head fits what the generic one leaves (section 4.2), so its loss must not bend prompts and generic
        head to the client. Shares do as counts: n_c is n times the share, and log n moves all logits alike.
        """
        z = self.feature(vit, batch, state)
        generic = classify(batch, z, state)
        share = torch.full_like(batch.prior, self.gamma).xlogy(batch.prior)  # 0 log 0 = 0; absent: -inf, out of the sum
        loss = functional.cross_entropy(generic + batch.own(share), batch.labels, reduction="none")
        if not self.personal:
            return loss
        both = generic.detach() + personal_logits(batch, z.detach(), state)
        return loss + functional.cross_entropy(both, batch.labels, reduction="none")


def personal_logits(batch: Batch, z: Tensor, state: State) -> Tensor:
    """What the personal head adds [B, C] for features [B, D]."""
    return batch.linear(z, state["personal.weight"], state["personal.bias"])
