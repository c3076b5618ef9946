"""Class prototypes of trained features: what clients upload, how the server updates them, and how they are used.

Clients upload sums and counts, so a prototype is the mean over all samples of its class, however they are partitioned.
"""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State
from fedprompt.methods.lazy import Tensor, functional, torch

SUMS = ("prototype.sum", "prototype.count")


def initial(vit: Backbone) -> State:
    """`prototypes` [C, D] and the mask `known` [C] before the first upload: all zeros."""
    return {"prototypes": torch.zeros(vit.classes, vit.dim), "known": torch.zeros(vit.classes)}


def sums(batch: Batch, z: Tensor) -> State:
    """Sums [K, M, D] and counts [K, M, 1] of features z [B, D] per client and class; names as in `SUMS`."""
    return {"prototype.sum": batch.class_sums(z), "prototype.count": batch.class_sums(torch.ones_like(z[:, :1]))}


def updated(server: State, reports: State) -> State:
    """Prototypes after a round, from the cohort's sums [K, C, ...]. Classes without samples keep their prototype."""
    total, count = (reports[name].sum(0) for name in SUMS)
    seen = count > 0
    return {
        "prototypes": torch.where(seen, total / count.clamp_min(1), server["prototypes"]),
        "known": torch.maximum(server["known"], seen.squeeze(1).to(server["known"].dtype)),
    }


def squared_error(batch: Batch, z: Tensor, state: State) -> Tensor:
    """Mean squared error [B] between a feature and the prototype of its class; 0 for classes without a prototype."""
    one_hot = functional.one_hot(batch.labels, state["known"].shape[1]).to(z.dtype)
    target = batch.matmul(one_hot, torch.cat([state["prototypes"], state["known"].unsqueeze(2)], 2))
    return (z - target[:, :-1]).square().mean(1) * target[:, -1]


def nearest_head(prototypes: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest-prototype rule as a linear head: weight [..., C, D] and bias [..., C].

    The scores are z.p - |p|^2 / 2, which equal -|z - p|^2 / 2 up to the class-independent |z|^2 / 2. They are log
    densities under unit variance, so a log prior may be added. A class without a prototype scores below all others for
    features of up to 1.5 times the largest prototype norm. Its bias is finite because adapting clients may train it.
    """
    norms = prototypes.square().sum(-1)
    return prototypes, torch.where(known > 0, -norms / 2, -2 * norms.amax(-1, keepdim=True))
