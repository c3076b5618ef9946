"""Probabilistic matching of clients' prompts to common centroids (PFPT, arXiv 2502.19752, as reconstructed).

A centroid j is active at a client with probability a_j, and then one of the client's prompts is drawn from
N(mu_j, s_j^2 I). New centroids come from N(m, S^2 I), the distribution of the pool. What is inferred is the most
probable assignment of prompts, at most one a client to each centroid, in turns with the parameters in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedprompt.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1e-6  # of the pool's variance: prompts that no client moved leave none


@dataclass
class Centroids:
    """Means [J, D], variances per dimension [J] and activation probabilities [J]."""

    means: Tensor
    variances: Tensor
    active: Tensor


def fit(prompts: Sequence[Tensor], weights: Tensor, received: Tensor, sweeps: int = 10) -> tuple[Tensor, list[Tensor]]:
    """The centroids [J', D] that some client's prompts were matched to, and for each client's prompts [M_k, D] theirs.

    `weights` [K] are the clients' shares; `received` [J, D] the centroids to begin with, which keep their order.
    """
    kind = received.dtype
    prompts, received = [own.double() for own in prompts], received.double()
    spread = received.var(0, correction=0).mean().clamp_min(1e-12)
    nearest = torch.cat([torch.cdist(own, received).min(1).values for own in prompts])
    common = (nearest.square().mean() / received.shape[1]).clamp_min(LEAST * spread)
    found = Centroids(received, common.expand(len(received)), torch.full((len(received),), 0.5).double())
    scale = weights.double() / weights.double().sum() * len(prompts)
    labels: list[Tensor] = []
    for _ in range(sweeps):
        before, means = labels, found.means
        labels = []
        for own in prompts:
            label, found = assign(own, found, received.mean(0), spread, common, len(prompts))
            labels.append(label)
        found, labels = estimate(prompts, labels, scale, len(found.means), common)
        if before and len(found.means) == len(means) and all(map(torch.equal, before, labels)):
            break
    return found.means.to(kind), labels


def assign(
    own: Tensor, found: Centroids, centre: Tensor, spread: Tensor, common: Tensor, clients: int
) -> tuple[Tensor, Centroids]:
    """Each prompt's centroid [M], by the Hungarian algorithm, and the centroids with the new ones behind them.

    A prompt begins a new centroid where it is likelier under the pool's distribution than under any that is free.
    """
    from scipy.optimize import linear_sum_assignment

    old = gaussian(own, found.means, found.variances) - torch.logit(found.active)
    new = gaussian(own, centre[None], (spread + common)[None]) - torch.logit(torch.tensor(1 / (clients + 2)).double())
    blocked = torch.full((len(own), len(own)), torch.inf).double().fill_diagonal_(0) + new
    cost = torch.cat([old, blocked.nan_to_num(posinf=1e12)], 1)
    label = torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(own.device)
    fresh = (label >= len(found.means)).nonzero().squeeze(1)
    label[fresh] = len(found.means) + torch.arange(len(fresh), device=label.device)
    return label, Centroids(
        torch.cat([found.means, own[fresh]]),
        torch.cat([found.variances, common.expand(len(fresh))]),
        torch.cat([found.active, found.active.new_full((len(fresh),), 1 / (clients + 2))]),
    )


def gaussian(own: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Negative log density [M, J] of points [M, D] under N(means, variances I), up to a constant."""
    return own.shape[1] / 2 * variances.log() + torch.cdist(own, means).square() / (2 * variances)


def estimate(
    prompts: Sequence[Tensor], labels: Sequence[Tensor], scale: Tensor, count: int, common: Tensor
) -> tuple[Centroids, list[Tensor]]:
    """Parameters of the centroids that were matched, given who was, and the labels renumbered.

    Means are weighted by the clients' `scale` [K], which sums to K; a variance is shrunk by one observation towards
    `common`, an activation by one success and one failure towards a half.
    """
    points, where = torch.cat(list(prompts)), torch.cat(list(labels))
    weight = torch.cat([scale[k].expand(len(own)) for k, own in enumerate(prompts)])
    mass = points.new_zeros(count).index_add_(0, where, weight)
    kept = mass > 0
    means = points.new_zeros(count, points.shape[1]).index_add_(0, where, weight[:, None] * points)[kept]
    mass, place = mass[kept], kept.cumsum(0) - 1
    means, where = means / mass[:, None], place[where]
    squares = (points - means[where]).square().mean(1)
    variances = (common + means.new_zeros(len(means)).index_add_(0, where, weight * squares)) / (mass + 1)
    return Centroids(means, variances, (mass + 1) / (len(prompts) + 2)), [place[label] for label in labels]
