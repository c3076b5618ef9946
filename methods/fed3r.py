"""Ridge regression as a head, from sums that clients upload once: training-free."""

from __future__ import annotations

from typing import ClassVar

from fedprompt.methods import Backbone, Batch, State, Streams, hyperparameter, register
from fedprompt.methods.components.closed_form_head import ClosedFormHead, second_moments, unseen_bias
from fedprompt.methods.lazy import Tensor, torch


@register(
    "fed3r",
    paper="Fani et al., Accelerating heterogeneous federated learning with closed-form classifiers, ICML",
    url="https://arxiv.org/abs/2406.01116",
    year=2024,
    family="training-free",
    variants={"afl": {"ridge": 0.0, "bias": False, "normalise": False}, "no-bias": {"bias": False}},
)
class Fed3R(ClosedFormHead):
    """Ridge regression on the frozen cls feature: each client uploads its Gram matrix and class sums once.

    Both travel and are summed in double precision: in fp32, the Gram matrix of the 1,437 training digits of the
    embedded default is wrong by 0.009 in the spectral norm, as much as lambda adds. `fed3r:afl` is AFL (He et al., CVPR
    2025): least squares on the pooled data, without lambda, bias or normalisation. Directions in which the Gram matrix
    is zero up to rounding, as with fewer samples than dimensions, are left out (pseudo-inverse); `dropped_directions`
    in the record counts them.
    """

    version = 3
    ridge: float = hyperparameter(0.01, "lambda of the ridge regression; 0: least squares", low=0)
    bias: bool = hyperparameter(True, "whether a constant 1 is appended to the features")
    normalise: bool = hyperparameter(True, "whether each class's weights are scaled to length one")

    class_rows: ClassVar[tuple[str, ...]] = ("sum",)
    local_optimiser = "none: nothing is trained"
    deviations: ClassVar[tuple[str, ...]] = (
        "without the random features and the fine-tuning stage of the paper's variants",
        "sums in double precision; the official code (Erosinho13/Fed3R, src/fed3r.py) sums in fp32",
        "classes without training samples are never predicted; in the official code their logit is 0",
        "fed3r:afl solves the pooled problem once; the official code (ZHUANGHP/Analytic-federated-learning, afl.py) "
        "merges the clients' ridge solutions one by one and then removes the ridge: the same head if G is regular",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {**super().memory(vit, rng), "dropped": torch.zeros(())}

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        z = vit.features(batch).double()
        if self.bias:
            z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        return {"gram": second_moments(batch, z), "sum": batch.class_sums(z)}

    def apply_statistics(self, server: State, statistics: State) -> State:
        """w = (G + lambda I)^-1 B with columns of unit length (section 4), lambda also on the bias, as officially.

        Equals ridge regression on the pooled data, for any partition.
        """
        gram, sums = statistics["gram"], statistics["sum"]
        solution, dropped = solve(gram, sums, self.ridge)
        weight = solution[:, :-1] if self.bias else solution
        scale = weight.norm(dim=1).clamp_min(1e-12) if self.normalise else torch.ones_like(weight[:, 0])
        bias = solution[:, -1] / scale if self.bias else torch.zeros_like(scale)
        head = {"head.weight": weight / scale.unsqueeze(1), "head.bias": bias + unseen_bias(sums.ne(0).any(1))}
        return {name: value.float() for name, value in {**head, "dropped": dropped}.items()}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        batch.log("dropped_directions", batch.own(state["dropped"]))
        return super().logits(vit, batch, state)


def solve(gram: Tensor, sums: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """(G + ridge I)^+ B as [C, D] from a Gram matrix [D, D] and B^T [C, D], and how many directions ^+ leaves out.

    Without a ridge, an eigenvalue counts as zero where the singular value of the features is below their fp32 rounding
    error: the last layer norm of a ViT puts all features into a hyperplane, which only rounding leaves.
    """
    values, vectors = torch.linalg.eigh(gram)
    size, single, double = len(values), torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps
    lowest = values[-1] * (size * double if ridge else (size * single) ** 2)
    kept = values + ridge > lowest
    inverse = torch.where(kept, 1 / torch.where(kept, values + ridge, 1), 0)
    return (sums @ vectors * inverse) @ vectors.T, (~kept).sum()
