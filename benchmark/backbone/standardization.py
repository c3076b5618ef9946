"""Standardisation of features by statistics of training clients: per feature, or with their covariance (whitening)."""

from dataclasses import dataclass

import torch
from torch import Tensor

CONSTANT = 1e-12
"""A feature is constant if its variance is at most this share of its mean square: less is rounding in fp32."""


@dataclass(frozen=True)
class Standardization:
    """Maps features z [..., D] to (z - mean) * scale, or to (z - mean) @ scale if `scale` is a matrix.

    Attributes:
        mean: [D].
        scale: [D], the inverse standard deviations; or [D, D], an inverse square root of the covariance.
        constant: Number of constant features. They are centred and not scaled.
        shrinkage: Weight of the scaled identity in the covariance; 0 without whitening.
    """

    mean: Tensor
    scale: Tensor
    constant: int
    shrinkage: float = 0.0

    def __call__(self, z: Tensor) -> Tensor:
        centred = z - self.mean
        return centred * self.scale if self.scale.dim() == 1 else centred @ self.scale


def standardization(count: Tensor, total: Tensor, second: Tensor) -> Standardization:
    """The standardisation by sums over all samples, in fp64.

    Args:
        count: Number of samples, [1].
        total: Sum of the features, [D].
        second: Sum of their squares, [D], or of their outer products, [D, D].
    """
    count = count.clamp_min(1)
    mean, square = total / count, (second if second.dim() == 1 else second.diagonal()) / count
    variance = square - mean.square()
    constant = variance <= CONSTANT * square.clamp_min(1e-30)  # tiny values, too: 1 / sigma must be finite in fp32
    if second.dim() == 1:
        scale, shrinkage = torch.where(constant, 1.0, variance).rsqrt(), 0.0
    else:
        scale, shrinkage = _whitening(second / count - torch.outer(mean, mean), float(count), ~constant)
    return Standardization(mean.float(), scale.float(), int(constant.sum()), shrinkage)


def _whitening(covariance: Tensor, count: float, varies: Tensor) -> tuple[Tensor, float]:
    """The symmetric inverse square root of the shrunk covariance [D, D] of the features that vary, and the shrinkage.

    Oracle approximating shrinkage towards a scaled identity (Chen et al., IEEE Trans. Signal Process. 2010, equation
    23): with fewer than D samples the covariance is singular, and with few its small eigenvalues are too small. The
    rows of the other features are those of the identity.
    """
    rows = varies.nonzero().squeeze(1)
    whole = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    if not len(rows):
        return whole, 0.0
    inner, size = covariance[rows][:, rows], len(rows)
    trace, squares = inner.trace(), inner.square().sum()
    excess = (count + 1 - 2 / size) * (squares - trace.square() / size)
    weight = float(((1 - 2 / size) * squares + trace.square()) / excess) if excess > 0 else 1.0
    weight = min(1.0, max(0.0, weight))
    identity = torch.eye(size, dtype=inner.dtype, device=inner.device)
    values, vectors = torch.linalg.eigh((1 - weight) * inner + weight * trace / size * identity)
    whole[rows.unsqueeze(1), rows] = (vectors * values.rsqrt()) @ vectors.T
    return whole, weight
