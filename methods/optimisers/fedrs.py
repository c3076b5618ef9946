"""FedRS: a softmax that restricts the classes which a client does not have."""

from __future__ import annotations

from fedprompt.methods import Batch, LossPlugin, hyperparameter, register_optimiser
from fedprompt.methods.lazy import Tensor, torch


@register_optimiser(
    "fedrs",
    paper="Li and Zhan, FedRS: Restricted softmax for label distribution non-IID data, KDD",
    url="https://doi.org/10.1145/3447548.3467254",
    year=2021,
)
class FedRS(LossPlugin):
    """Multiplies the logits of classes that the client does not have by alpha in the training loss.

    Such a client then pushes these logits down less. With alpha = 0 they get no gradient at all.
    """

    alpha: float = hyperparameter(0.5, "factor of the logits of absent classes; 1: plain cross-entropy", low=0, high=1)

    deviations = (
        "scales logits with their bias; the official head has no bias",
        "a class is present or absent, as in the paper; the official code (lxcnju/FedRepo, algorithms/fedrs.py) "
        "interpolates by the count relative to the client's largest class",
    )

    def adjust_logits(self, batch: Batch, logits: Tensor) -> Tensor:
        return logits * batch.own(torch.where(batch.counts > 0, 1.0, self.alpha))
