"""Averaged prompts under one random head that no one trains before the end."""

from __future__ import annotations

from fedprompt.methods.base import Phase, hyperparameter
from fedprompt.methods.fedper import FedPer
from fedprompt.methods.registry import register

HEAD = ("head.weight", "head.bias")


@register(
    "fedbabu",
    paper="Oh et al., FedBABU: Toward enhanced representation for federated image classification, ICLR",
    year=2022,
    family="personal prompts",
)
class FedBABU(FedPer):
    """Prompts are averaged under a head that stays as it was drawn; each client fine-tunes the head to predict.

    A held-out client is scored with that fixed head, and apart from that after the same fine-tuning.
    """

    seen_with = "the averaged prompt under the head that it tuned"
    held_out_with = "the averaged prompt under the head as it was drawn, which is chance"
    tune_epochs: int | None = hyperparameter(
        5, "local epochs of the head before a prediction; None: those of a round", low=1
    )
    deviations = (
        "the body is the prompts alone, since the backbone is frozen",
        "the head is what every method starts from, of deviation 0.02; the paper's has that of PyTorch's linear layer",
        "prompts alone can hardly fit features to a random head: what a client scores is mostly its tuned head's",
        "a prediction is preceded by tuning of the head alone, not of the prompts with it",
    )

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(("prompt",)),)

    @property
    def fine_tuning(self) -> Phase:
        return Phase(HEAD, epochs=self.tune_epochs)
