"""Averaged prompts under personal heads, trained in turns."""

from __future__ import annotations

from fedprompt.methods.base import Phase, hyperparameter
from fedprompt.methods.fedper import FedPer
from fedprompt.methods.registry import register


@register(
    "fedrep",
    paper="Collins et al., Exploiting shared representations for personalized federated learning, ICML",
    year=2021,
    family="personal prompts",
)
class FedRep(FedPer):
    """FedPer in turns: a client trains its own head while the prompts stand still, then the prompts under that head.

    A held-out client predicts with the averaged prompts and the mean of the clients' heads.
    """

    head_epochs: int | None = hyperparameter(
        None, "local epochs of the head, before the prompts'; None: the run's", low=1
    )
    deviations = (
        "the representation that is averaged is the prompts alone, since the backbone is frozen",
        "the prompts train for the run's epochs; the paper's default is one, after ten of the head",
        "weight decay is the run's for prompts and head; the official code spares biases",
        "not repeated from the official code: before its final test the heads of all clients train for ten epochs more",
    )

    def phases(self) -> tuple[Phase, ...]:
        return Phase(("head.weight", "head.bias"), epochs=self.head_epochs), Phase(("prompt",))
