"""FedRoD: an averaged class-balanced head plus a personal head."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, Streams, hyperparameter, register
from fedprompt.methods.components.prompts import classify
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor, torch


@register(
    "fedrod",
    paper="Chen and Chao, On bridging generic and personalized federated learning for image classification, ICLR",
    url="https://arxiv.org/abs/2107.00778",
    year=2022,
    family="personal prompts",
    variants={"generic": {"personal": False}},
)
class FedRoD(FedVPT):
    """Averages prompts and a generic head trained with balanced softmax; adds a personal head trained with CE.

    Balanced softmax adds the log of the client's class shares to the logits during training only; it is the training
    counterpart of the prior correction in evaluation. `fedrod:generic` has no personal head, so it splits the gain: the
    balanced softmax alone is `fedrod:generic` minus `fedvpt`, the personal head `fedrod` minus `fedrod:generic`.
    """

    personalised = True
    seen_with = "averaged prompts; the averaged generic head plus a personal head"
    held_out_with = "averaged prompts and generic head"
    gamma: float = hyperparameter(
        1.0, "exponent of the class counts in the balanced softmax; 0: plain cross-entropy", low=0
    )
    personal: bool = hyperparameter(True, "add a personal head to the generic one")
    deviations = (
        "implemented from the paper's equations: the official repository contains no code",
        "the averaged body consists of the prompts, since the backbone is frozen",
        "the personal head starts at zero, so that a client that never trained predicts with the generic head",
        "no hypernetwork, with which the paper generates personal heads of new clients from their class shares",
        "not copied from another framework: predictions with the personal head alone, whose loss trains the prompts",
    )

    @property
    def refuses_losses(self) -> str:
        return "fedrod adds the log class shares to its logits itself (fedrod:gamma=0 does not)" if self.gamma else ""

    def local(self, vit: Backbone, rng: Streams) -> State:
        if not self.personal:
            return {}
        return {"personal.weight": torch.zeros(vit.classes, vit.dim), "personal.bias": torch.zeros(vit.classes)}

    def held_out_local(self, received: State, mean: State) -> State:
        return {name: torch.zeros_like(value) for name, value in mean.items()}  # predicts with the generic head

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        generic = classify(batch, z, state)
        return generic + personal_logits(batch, z, state) if self.personal else generic

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Balanced softmax of the generic head, plus cross-entropy of the sum of both heads.

        The second term trains the personal head only, which fits the residual of the generic one (section 4.2).
        Class shares may replace the paper's counts n_c, because the factor n shifts all logits equally.
        """
        z = self.feature(vit, batch, state)
        generic = classify(batch, z, state)
        loss = balanced_cross_entropy(batch, generic, self.gamma)
        if not self.personal:
            return loss
        both = generic.detach() + personal_logits(batch, z.detach(), state)
        return loss + batch.cross_entropy(both)


def balanced_cross_entropy(batch: Batch, logits: Tensor, gamma: float) -> Tensor:
    """Balanced softmax [B]: cross-entropy of logits [B, C] plus gamma times the log of the client's class shares."""
    share = torch.full_like(batch.prior, gamma).xlogy(batch.prior)  # 0 log 0 = 0; absent classes: -inf
    return batch.cross_entropy(logits + batch.own(share))


def personal_logits(batch: Batch, z: Tensor, state: State) -> Tensor:
    """Logits [B, C] of the personal head for features [B, D]."""
    return batch.linear(z, state["personal.weight"], state["personal.bias"])
