"""Ditto: a personal model regularised towards the averaged one."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Phase, State, hyperparameter, register
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL, PersonalModel, squared_distance
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor


@register(
    "ditto",
    paper="Li et al., Ditto: Fair and robust federated learning through personalization, ICML",
    url="https://arxiv.org/abs/2012.04221",
    year=2021,
    family="personal prompts",
)
class Ditto(PersonalModel, FedVPT):
    """FedVPT plus a personal prompt and head v per client, trained on CE + lambda/2 |v - w|^2.

    w is the received model. The personal phase comes first, while w is unchanged. Both phases start from the first
    batch of the round, so neither affects the other.
    """

    strength: float = hyperparameter(1.0, "weight lambda of the distance to the received model", low=0)
    personal_epochs: int | None = hyperparameter(
        None, "local epochs of the personal model; None: those of a round", low=1
    )
    seen_with = "its personal prompt and head"
    held_out_with = "the averaged prompt and head"
    deviations = (
        "personalises prompts and head of a frozen ViT; the paper personalises whole networks",
        "the personal phase precedes the global one; the official code alternates per batch, with the same result, "
        "since both see the same batches and neither model affects the other",
        "as in the paper and in litian96/ditto flearn/trainers_MTL/ditto.py, a personal model trains only in "
        "rounds that sample its client; until then the client predicts with the averaged model, in the official "
        "code with the initial personal one",
        "a round is one epoch of each client by default; the official code takes the same number of batches per "
        "client, 10 by default and 2 in its scripts of 5000 rounds, without momentum",
        "one lambda for all clients, 1 by default; the official code can also select 0.1, 1 or 2 per client on "
        "validation data",
    )

    def phases(self) -> tuple[Phase, ...]:
        return Phase(PERSONAL, epochs=self.personal_epochs, rewind=True), Phase(GLOBAL, rewind=True)

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        if batch.phase is not None and batch.phase.trains == GLOBAL:
            return batch.cross_entropy(self.global_logits(vit, batch, state))
        return super().loss(vit, batch, state) + batch.own(self.strength / 2 * squared_distance(state))
