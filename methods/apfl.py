"""APFL: each client learns how to mix its personal model with the averaged one."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Phase, State, Streams, hyperparameter, register
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL, PersonalModel
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor, torch

SHRINKAGE = 0.02  # weight of alpha in its own gradient, as in the official code


@register(
    "apfl",
    paper="Deng et al., Adaptive personalized federated learning, arXiv 2003.13461",
    url="https://arxiv.org/abs/2003.13461",
    year=2020,
    family="personal prompts",
)
class APFL(PersonalModel, FedVPT):
    """Clients predict with alpha f(v) + (1 - alpha) f(w): v is their personal prompt and head, w the averaged ones.

    Once per round alpha takes one gradient step on the first batch and is clamped to [0, 1]. Then every batch updates w
    on its own loss, as in FedVPT, and v on the loss of the mixture with w fixed. A held-out client starts with v = w,
    so it predicts like w for any alpha, and may adapt v.
    """

    alpha: float = hyperparameter(0.5, "initial share of the personal model", low=0, high=1)
    alpha_lr: float | None = hyperparameter(None, "learning rate of alpha; None: the run's; 0: fixed alpha", low=0)
    no_decay = ("alpha",)
    seen_with = "the mixture of its personal and the averaged model, with its own alpha"
    held_out_with = "the averaged prompt and head"
    local_optimiser = "SGD, weight decay 5e-4 (MLOPTPSU/FedTorch, fedtorch/parameters.py)"
    deviations = (
        "personalises prompts and head of a frozen ViT; the paper personalises whole networks",
        "mixes logits, as in the official code; the paper's algorithm mixes parameters",
        "w and v are updated simultaneously, as in the paper; the official code (MLOPTPSU/FedTorch "
        "fedtorch/comms/trainings/federated/apfl.py) and KarhouTam/FL-bench src/client/apfl.py first take the step of "
        "w and then that of v on the mixture with the updated w",
        "alpha is updated before the first step of a round, on the loss of the mixed logits; the official code updates "
        "it after that step by (v - w) (alpha g_v + (1 - alpha) g_w), with the mixture's gradients g by v and w, and "
        "FL-bench after every batch of the first epoch",
        "mixes v with the averaged w when it is scored; the official code scores the mixture with the client's own w "
        "before that is averaged",
        "with the order of steps, alpha and own w of the official code, it scores 75.5 in place of 70.8 % at alpha "
        "0.05 and 70.1 in place of 70.8 % at alpha 0.5; with own w alone 72.1 and 66.9 %, with its order and alpha "
        "alone 65.3 and 69.9 % (Dirichlet alpha; embedded default on digits, seeds 0 to 2)",
        "with --clip-norm, one norm covers the gradients of both models",
    )

    def local(self, vit: Backbone, rng: Streams) -> State:
        return {**super().local(vit, rng), "alpha": torch.tensor(self.alpha)}

    def held_out_local(self, received: State, mean: State) -> State:
        return {**super().held_out_local(received, mean), "alpha": torch.full_like(mean["alpha"], self.alpha)}

    def phases(self) -> tuple[Phase, ...]:
        return Phase(("alpha",), batches=1, lr=self.alpha_lr, rewind=True), Phase((*GLOBAL, *PERSONAL), rewind=True)

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return self.mixed(vit, batch, state, self.global_logits(vit, batch, state))

    def mixed(self, vit: Backbone, batch: Batch, state: State, averaged: Tensor) -> Tensor:
        """Logits [B, C] of the mixture, from those of the averaged model; exactly the latter if v = w or alpha = 0."""
        share = batch.own(state["alpha"]).unsqueeze(1)
        return averaged + share * (self.personal_logits(vit, batch, state) - averaged)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cross-entropy of the averaged model plus that of the mixture, with the averaged model fixed in the latter."""
        averaged = self.global_logits(vit, batch, state)
        mixed = self.mixed(vit, batch, state, averaged.detach())
        loss = batch.cross_entropy(mixed)
        if batch.phase is not None and batch.phase.trains == ("alpha",):
            return loss + batch.own(SHRINKAGE / 2 * state["alpha"].square())
        if averaged.requires_grad:
            loss = loss + batch.cross_entropy(averaged)
        return loss

    def after_batch(self, state: State) -> State:
        return {"alpha": state["alpha"].clamp(0, 1)}
