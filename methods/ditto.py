"""Ditto: a personal model drawn towards the averaged one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Phase, State, hyperparameter
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL, TwoModels, squared_distance
from fedprompt.methods.lazy import functional
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "ditto",
    paper="Li et al., Ditto: Fair and robust federated learning through personalization, ICML",
    year=2021,
    family="personal prompts",
)
class Ditto(TwoModels):
    """FedVPT, and beside it each client's own prompts and head v, trained on CE + lambda/2 |v - w|^2.

    w is what the client received. Its own phase comes first, when w is still that; both phases take the round's
    batches from the first on, so that neither's numbers depend on the other.
    """

    strength: float = hyperparameter(1.0, "weight lambda of the distance to what was received", low=0)
    personal_epochs: int | None = hyperparameter(
        None, "local epochs of the personal model; None: those of a round", low=1
    )
    seen_with = "its personal prompt and head"
    held_out_with = "the averaged prompt and head"
    deviations = (
        "on prompts and head of a frozen ViT; the paper personalises whole networks",
        "the personal phase is whole before the global one; the official code takes turns batch by batch, with the "
        "same numbers, since both see the same batches and neither model moves the other",
        "the client's own model is that of all clients until it is sampled for the first time",
        "one lambda for all clients, 1 by default as in the official code, which can also choose among 0.1, 1 and 2 "
        "for each client on its validation data",
    )

    def phases(self) -> tuple[Phase, ...]:
        return Phase(PERSONAL, epochs=self.personal_epochs, rewind=True), Phase(GLOBAL, rewind=True)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        if batch.phase is not None and batch.phase.trains == GLOBAL:
            return functional.cross_entropy(self.global_logits(vit, batch, state), batch.labels, reduction="none")
        return super().loss(vit, batch, state) + batch.own(self.strength / 2 * squared_distance(state))
