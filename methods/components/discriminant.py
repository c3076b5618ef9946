"""Linear discriminant analysis: Gaussian classes with one covariance, from sums that clients upload."""

from __future__ import annotations

from fedprompt.methods import Batch, State
from fedprompt.methods.components.closed_form_head import second_moments
from fedprompt.methods.lazy import Tensor, torch

CLASS_SUMS = ("sum", "count")
"""Those of `sums` with one row per class."""
LEAST_SHARE = 1e-4
"""Shrinkage of a covariance that would otherwise be singular."""


def sums(batch: Batch, z: Tensor) -> State:
    """Class sums [K, M, D], counts [K, M, 1] and second moments [K, D, D] of features z [B, D].

    In double precision: a covariance is a small difference of large sums.
    """
    z = z.double()
    count = batch.class_sums(torch.ones_like(z[:, :1]))
    return {"sum": batch.class_sums(z), "count": count, "second": second_moments(batch, z)}


def estimates(total: State) -> tuple[Tensor, Tensor, Tensor]:
    """Means m_c [C, D], covariance [D, D] and which classes have samples [C], from sums over all clients.

    The covariance is the maximum-likelihood one within classes, 1/N sum_c sum_i (z_i - m_c)(z_i - m_c)^T.
    """
    count = total["count"]
    means = total["sum"] / count.clamp_min(1)
    return means, (total["second"] - total["sum"].T @ means) / count.sum(), count.squeeze(1) > 0


def head(means: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Weights S^-1 m_c [..., C, D] and biases -1/2 m_c^T S^-1 m_c [..., C] of means [..., C, D] and S [..., D, D].

    The scores z.w_c + b_c are the log densities log N(z; m_c, S) up to a term that all classes share, so a log prior
    may be added.
    """
    weight = torch.linalg.solve(covariance, means.mT).mT
    return weight, -(weight * means).sum(-1) / 2


def shrunk(covariance: Tensor, share: float | Tensor) -> Tensor:
    """(1 - share) S + share tr(S)/D I, for covariances [..., D, D]; the identity if S is zero."""
    size = covariance.shape[-1]
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    identity = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
    return torch.where(scale > 0, (1 - share) * covariance + share * scale * identity, identity)


def least_share(covariance: Tensor, share: float) -> float:
    """The share of shrinkage [D, D] that is used: `share`, more if S would be singular, 1 if S is zero."""
    smallest, largest = torch.linalg.eigvalsh(shrunk(covariance, share))[[0, -1]].tolist()
    if not covariance.any():
        return 1.0
    return share if smallest > 1e-10 * largest else max(share, LEAST_SHARE)
