"""APFL: a mixture of a personal and the averaged model, whose share each client learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Phase, State, Streams, hyperparameter
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL, TwoModels
from fedprompt.methods.lazy import functional, torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor

SHRINKAGE = 0.02  # of alpha's gradient, alpha itself times this: the official code's


@register(
    "apfl",
    paper="Deng et al., Adaptive personalized federated learning, arXiv 2003.13461",
    year=2020,
    family="personal prompts",
)
class APFL(TwoModels):
    """A client predicts with alpha f(v) + (1 - alpha) f(w), of its own prompts and head v and the averaged ones w.

    Once a round alpha takes a gradient step on the first batch and is kept within 0 and 1. Then every batch moves w
    along its own loss, as in FedVPT, and v along that of the mixture, where w stands still. A held-out client starts
    with v = w, so that it predicts as w does whatever its alpha, and can adapt v.
    """

    alpha: float = hyperparameter(0.5, "share of the personal model that every client starts with", low=0, high=1)
    alpha_lr: float | None = hyperparameter(None, "learning rate of alpha; None: the run's; 0: alpha stays", low=0)
    no_decay = ("alpha",)
    seen_with = "the mixture of its personal and the averaged model, by its own alpha"
    held_out_with = "the averaged prompt and head"
    deviations = (
        "on prompts and head of a frozen ViT; the paper personalises whole networks",
        "mixes logits as the official code does; the paper's algorithm mixes parameters",
        "w and v step at once, as in the paper's algorithm; the official code mixes with w as it is after its step",
        "alpha moves before the round's first step, along the loss of the mixed logits; the official code: after that "
        "step, along the models' gradients times their difference",
        "one gradient clipping, where the run asks for it, bounds the steps of both models together",
    )

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {**super().local(vit, rng), "alpha": torch.tensor(self.alpha)}

    def held_out_local(self, received: State, mean: State) -> State:
        return {**super().held_out_local(received, mean), "alpha": torch.full_like(mean["alpha"], self.alpha)}

    def phases(self) -> tuple[Phase, ...]:
        return Phase(("alpha",), batches=1, lr=self.alpha_lr, rewind=True), Phase((*GLOBAL, *PERSONAL), rewind=True)

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return self.mixed(vit, batch, state, self.global_logits(vit, batch, state))

    def mixed(self, vit: Backbone, batch: Batch, state: State, of_global: Tensor) -> Tensor:
        """Logits [B, C] of the mixture, given those of the averaged model; exactly these where v = w or alpha = 0."""
        share = batch.own(state["alpha"]).unsqueeze(1)
        return of_global + share * (self.personal_logits(vit, batch, state) - of_global)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cross-entropy of the averaged model plus that of the mixture, for which the averaged one stands still."""
        of_global = self.global_logits(vit, batch, state)
        mixed = self.mixed(vit, batch, state, of_global.detach())
        loss = functional.cross_entropy(mixed, batch.labels, reduction="none")
        if batch.phase is not None and batch.phase.trains == ("alpha",):
            return loss + batch.own(SHRINKAGE / 2 * state["alpha"].square())
        if of_global.requires_grad:
            loss = loss + functional.cross_entropy(of_global, batch.labels, reduction="none")
        return loss

    def after_batch(self, state: State) -> State:
        return {"alpha": state["alpha"].clamp(0, 1)}
