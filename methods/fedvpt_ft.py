"""FedVPT-FT: averaged prompts, fine-tuned by every client before it predicts."""

from __future__ import annotations

from fedprompt.methods import Phase, hyperparameter, register
from fedprompt.methods.fedvpt import FedVPT


@register(
    "fedvpt-ft",
    paper="Yu et al., Salvaging federated learning by local adaptation, arXiv 2002.04758; on prompts",
    url="https://arxiv.org/abs/2002.04758",
    year=2020,
    family="personal prompts",
)
class FedVPTFineTuned(FedVPT):
    """FedVPT; before predictions, each client fine-tunes a local copy of prompts and head on its own data.

    A held-out client predicts with the averaged model; its personalised score follows the same fine-tuning.
    """

    personalised = True
    version = 2
    seen_with = "the averaged prompt and head"
    held_out_with = "the averaged prompt and head"
    tune_epochs: int | None = hyperparameter(None, "fine-tuning epochs; None: --personal-epochs", low=1)
    deviations = ("fine-tunes prompts and head of a frozen ViT; the paper fine-tunes whole networks",)

    @property
    def fine_tuning(self) -> Phase:
        return Phase(epochs=self.tune_epochs)
