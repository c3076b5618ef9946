"""FedRep: averaged prompts under personal heads, trained alternately."""

from __future__ import annotations

from fedprompt.methods import Phase, hyperparameter, register
from fedprompt.methods.fedper import FedPer

HEAD = ("head.weight", "head.bias")


@register(
    "fedrep",
    paper="Collins et al., Exploiting shared representations for personalized federated learning, ICML",
    url="https://arxiv.org/abs/2102.07078",
    year=2021,
    family="personal prompts",
)
class FedRep(FedPer):
    """FedPer with alternating training: first the personal head with fixed prompts, then the prompts with that head.

    Before it is scored, every seen client trains its head once more under the final prompts, as the official code does.
    A client that never trained starts from the mean of the clients' heads.
    """

    version = 2
    head_epochs: int | None = hyperparameter(
        None, "local epochs of the head, before those of the prompts; None: the run's", low=1
    )
    local_optimiser = "SGD, momentum 0.5, weight decay 1e-4 of weights (lgcollins/FedRep, models/Update.py)"
    deviations = (
        "the averaged representation consists of the prompts, since the backbone is frozen",
        "the prompts train for the run's epochs; the paper's default is 1 epoch, after 10 of the head",
        "weight decay applies to prompts and head; the official code excludes biases",
        "the heads train for --personal-epochs before the final test; the official code takes 10 epochs",
    )

    def phases(self) -> tuple[Phase, ...]:
        return Phase(HEAD, epochs=self.head_epochs), Phase(("prompt",))

    @property
    def fine_tuning(self) -> Phase:
        return Phase(HEAD)
