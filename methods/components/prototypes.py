"""Class prototypes of trained features: what clients gather of them, what the server keeps, and what they pull.

Clients send sums and counts, so that a prototype is the mean over all samples of its class, however they are dealt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, State
from fedprompt.methods.lazy import functional, torch

if TYPE_CHECKING:
    from torch import Tensor

SUMS = ("prototype.sum", "prototype.count")


def none_known(vit: Backbone) -> State:
    """`prototypes` [C, D] and which are `known` [C], before any client has sent its sums."""
    return {"prototypes": torch.zeros(vit.classes, vit.dim), "known": torch.zeros(vit.classes)}


def gathered(batch: Batch, z: Tensor) -> State:
    """Sums and counts of features [B, D] per class held, [K, M, D] and [K, M, 1], under the names `SUMS`."""
    return {"prototype.sum": batch.class_sums(z), "prototype.count": batch.class_sums(torch.ones_like(z[:, :1]))}


def renewed(server: State, reports: State) -> State:
    """The prototypes after a round, of the sums [K, C, ...] of its clients; that of a class that none of them holds
    stays."""
    total, count = (reports[name].sum(0) for name in SUMS)
    seen = count > 0
    return {
        "prototypes": torch.where(seen, total / count.clamp_min(1), server["prototypes"]),
        "known": torch.maximum(server["known"], seen.squeeze(1).to(server["known"].dtype)),
    }


def squared_error(batch: Batch, z: Tensor, state: State) -> Tensor:
    """Mean over dimensions [B] of the squared distance to the prototype of a sample's class; 0 where none is known."""
    own = functional.one_hot(batch.labels, state["known"].shape[1]).to(z.dtype)
    target = batch.matmul(own, torch.cat([state["prototypes"], state["known"].unsqueeze(2)], 2))
    return (z - target[:, :-1]).square().mean(1) * target[:, -1]


def nearest(prototypes: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest prototype as a linear head: weight [..., C, D] and bias [..., C].

    -|z - p|^2 / 2 without |z|^2 / 2, which is the same for all classes, is z.p - |p|^2 / 2: the log density under unit
    variance, so that a prior may be added. A class without a prototype comes last, below any feature of up to 1.5 times
    the largest norm; finitely, since a client that adapts may have to learn it.
    """
    norms = prototypes.square().sum(-1)
    return prototypes, torch.where(known > 0, -norms / 2, -2 * norms.amax(-1, keepdim=True))
