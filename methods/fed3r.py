"""Ridge regression as a head, from sums that clients send once: nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fedprompt.methods.base import Backbone, Batch, State, hyperparameter
from fedprompt.methods.components.closed_form_head import ClosedForm, unseen
from fedprompt.methods.lazy import functional, torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


def ridge_head(gram: Tensor, sums: Tensor, ridge: float) -> Tensor:
    """The columns of (G + ridge I)^-1 B as unit vectors [C, D], of a Gram matrix [D, D] and class sums B^T [C, D].

    Solved in double precision: G is the sum over all samples, and ill-conditioned where they are fewer than D.
    """
    system = gram.double() + ridge * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    return functional.normalize(torch.linalg.solve(system, sums.double().T).T, dim=1).to(sums.dtype)


@register(
    "fed3r",
    paper="Fani et al., Accelerating heterogeneous federated learning with closed-form classifiers, ICML",
    year=2024,
    family="training-free",
)
class Fed3R(ClosedForm):
    """Ridge regression on the frozen cls feature: each client sends its Gram matrix and class sums once."""

    ridge: float = hyperparameter(0.01, "lambda of the ridge regression", low=1e-8)

    class_rows: ClassVar[tuple[str, ...]] = ("sum",)
    deviations: ClassVar[tuple[str, ...]] = (
        "without the random features and the fine-tuning stage of the paper's variants",
    )

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        z = vit.features(batch)
        own = (z * batch.mask.unsqueeze(1)).view(len(batch.counts), -1, vit.dim)
        return {"gram": own.mT @ own, "sum": batch.class_sums(z)}

    def apply_statistics(self, server: State, statistics: State) -> State:
        """w = (G + lambda I)^-1 B with columns of unit length (section 4); a class that nobody holds is never chosen.

        Exact: the sums over clients are those over the pooled data, however it is split.
        """
        held = statistics["sum"].ne(0).any(1)
        weight = ridge_head(statistics["gram"], statistics["sum"], self.ridge)
        return {"head.weight": weight, "unseen": unseen(held)}
