"""Averaged prompts, fine-tuned by every client before it predicts."""

from __future__ import annotations

from fedprompt.methods.base import Phase, hyperparameter
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.registry import register


@register(
    "fedvpt-ft",
    paper="Yu et al., Salvaging federated learning by local adaptation, arXiv 2002.04758; on prompts",
    year=2020,
    family="personal prompts",
)
class FedVPTFineTuned(FedVPT):
    """FedVPT; before it predicts, a client trains prompts and head on its own data, which the server never sees.

    A held-out client is scored with the averaged model, and apart from that after the same fine-tuning.
    """

    personalised = True
    seen_with = "the averaged prompt and head after epochs on its own data"
    held_out_with = "the averaged prompt and head as they are"
    tune_epochs: int | None = hyperparameter(None, "local epochs before a prediction; None: those of a round", low=1)
    deviations = ("on prompts and head of a frozen ViT; the paper fine-tunes whole networks",)

    @property
    def fine_tuning(self) -> Phase:
        return Phase(epochs=self.tune_epochs)
