"""FedBABU: averaged prompts under a fixed head, which clients fine-tune for their predictions."""

from __future__ import annotations

from fedprompt.methods import Phase, hyperparameter, register
from fedprompt.methods.fedper import FedPer

HEAD = ("head.weight", "head.bias")


@register(
    "fedbabu",
    paper="Oh et al., FedBABU: Toward enhanced representation for federated image classification, ICLR",
    url="https://arxiv.org/abs/2106.06042",
    year=2022,
    family="personal prompts",
)
class FedBABU(FedPer):
    """Averages prompts trained under a fixed head. Each client fine-tunes the head before it predicts.

    The fixed head is random, as in the paper, or the one of `--head-init`.
    A held-out client predicts with the fixed head; its personalised score follows the same fine-tuning.
    """

    version = 2
    seen_with = "the averaged prompt under the fixed initial head"
    held_out_with = "the averaged prompt under the fixed initial head, at chance level if that head is random"
    tune_epochs: int | None = hyperparameter(None, "fine-tuning epochs of the head; None: --personal-epochs", low=1)
    deviations = (
        "the body consists of the prompts, since the backbone is frozen",
        "the head has a standard deviation of 0.02, as in all methods here; the paper uses PyTorch's default",
        "prompts alone do not adapt features to a random head: accuracy comes from the fine-tuned head, and falls from "
        "68.1 % before round 1 to 36.8 % after 24 rounds (embedded default, alpha 0.5, seed 0)",
        "fine-tuning trains the head only, not the prompts, for --personal-epochs; the paper takes 5 epochs",
    )

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(("prompt",)),)

    @property
    def fine_tuning(self) -> Phase:
        return Phase(HEAD, epochs=self.tune_epochs)
