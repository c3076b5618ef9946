"""Ridge regression as a head, from sums that clients upload once: training-free."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods import Backbone, Batch, State, hyperparameter, register
from fedprompt.methods.components.closed_form_head import ClosedFormHead, unseen_bias
from fedprompt.methods.lazy import Tensor, functional, torch


def ridge_head(gram: Tensor, sums: Tensor, ridge: float) -> Tensor:
    """The normalised columns of (G + ridge I)^-1 B as [C, D], from the Gram matrix G [D, D] and class sums B^T [C, D].

    Solved in double precision, because G is ill-conditioned if there are fewer than D samples.
    """
    system = gram.double() + ridge * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    return functional.normalize(torch.linalg.solve(system, sums.double().T).T, dim=1).to(sums.dtype)


@register(
    "fed3r",
    paper="Fani et al., Accelerating heterogeneous federated learning with closed-form classifiers, ICML",
    year=2024,
    family="training-free",
)
class Fed3R(ClosedFormHead):
    """Ridge regression on the frozen cls feature: each client uploads its Gram matrix and class sums once."""

    ridge: float = hyperparameter(0.01, "lambda of the ridge regression", low=1e-8)

    class_rows: ClassVar[tuple[str, ...]] = ("sum",)
    local_optimiser = "none: nothing is trained"
    deviations: ClassVar[tuple[str, ...]] = (
        "without the random features and the fine-tuning stage of the paper's variants",
    )

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        z = vit.features(batch)
        samples = (z * batch.mask.unsqueeze(1)).view(len(batch.counts), -1, vit.dim)
        return {"gram": samples.mT @ samples, "sum": batch.class_sums(z)}

    def apply_statistics(self, server: State, statistics: State) -> State:
        """w = (G + lambda I)^-1 B with columns of unit length (section 4); unseen classes are never predicted.

        Equals ridge regression on the pooled data, for any partition.
        """
        seen = statistics["sum"].ne(0).any(1)
        weight = ridge_head(statistics["gram"], statistics["sum"], self.ridge)
        return {"head.weight": weight, "unseen": unseen_bias(seen)}
