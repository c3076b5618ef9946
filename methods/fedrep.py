"""FedRep: averaged prompts under personal heads, trained alternately."""

from __future__ import annotations

from fedprompt.methods import Phase, hyperparameter, register
from fedprompt.methods.fedper import FedPer


@register(
    "fedrep",
    paper="Collins et al., Exploiting shared representations for personalized federated learning, ICML",
    year=2021,
    family="personal prompts",
)
class FedRep(FedPer):
    """FedPer with alternating training: first the personal head with fixed prompts, then the prompts with that head.

    A held-out client predicts with the averaged prompts and the mean of the clients' heads.
    """

    head_epochs: int | None = hyperparameter(
        None, "local epochs of the head, before those of the prompts; None: the run's", low=1
    )
    deviations = (
        "the averaged representation consists of the prompts, since the backbone is frozen",
        "the prompts train for the run's epochs; the paper's default is 1 epoch, after 10 of the head",
        "weight decay applies to prompts and head; the official code excludes biases",
        "not copied from the official code: 10 more epochs for all heads before the final test",
    )

    def phases(self) -> tuple[Phase, ...]:
        return Phase(("head.weight", "head.bias"), epochs=self.head_epochs), Phase(("prompt",))
