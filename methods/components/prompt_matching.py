"""Probabilistic matching of clients' prompts to common centroids (PFPT, arXiv 2502.19752, reconstructed).

Centroid j is active at a client with probability a_j; one of the client's prompts is then drawn from N(mu_j, s_j^2 I).
New centroids are drawn from N(m, S^2 I), the distribution of the pool. Matching alternates two steps: the most probable
assignment of each client's prompts, at most one per centroid, and closed-form estimates of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedprompt.methods.lazy import Tensor, torch

MIN_VARIANCE_SHARE = 1e-6  # of the pool's variance: prompts that no client moved have none


@dataclass
class Centroids:
    """Means [J, D], variances per dimension [J] and activation probabilities [J]."""

    means: Tensor
    variances: Tensor
    active: Tensor


def match_prompts(
    prompts: Sequence[Tensor], weights: Tensor, received: Tensor, sweeps: int = 10
) -> tuple[Tensor, list[Tensor]]:
    """Matches each client's prompts to centroids.

    Args:
        prompts: Prompts [M_k, D] of each client.
        weights: Relative weights of the clients, [K].
        received: Initial centroids [J, D].
        sweeps: Maximum number of alternations; stops earlier when assignments no longer change.

    Returns:
        The centroids [J', D] with at least one matched prompt, in the order of `received` and then new ones, and the
        centroid index of each client's prompts.
    """
    dtype = received.dtype
    prompts, received = [own.double() for own in prompts], received.double()
    pool_variance = received.var(0, correction=0).mean().clamp_min(1e-12)
    nearest = torch.cat([torch.cdist(own, received).min(1).values for own in prompts])
    prior = (nearest.square().mean() / received.shape[1]).clamp_min(MIN_VARIANCE_SHARE * pool_variance)
    centroids = Centroids(received, prior.expand(len(received)), torch.full((len(received),), 0.5).double())
    scale = weights.double() / weights.double().sum() * len(prompts)
    labels: list[Tensor] = []
    for _ in range(sweeps):
        old_labels, old_means = labels, centroids.means
        labels = []
        for own in prompts:
            label, centroids = assign(own, centroids, received.mean(0), pool_variance, prior, len(prompts))
            labels.append(label)
        centroids, labels = estimate(prompts, labels, scale, len(centroids.means), prior)
        same_size = len(centroids.means) == len(old_means)
        if old_labels and same_size and all(map(torch.equal, old_labels, labels)):
            break
    return centroids.means.to(dtype), labels


def assign(
    prompts: Tensor, centroids: Centroids, centre: Tensor, pool_variance: Tensor, prior: Tensor, clients: int
) -> tuple[Tensor, Centroids]:
    """Assigns one client's prompts [M, D] to centroids, with the Hungarian algorithm.

    A prompt starts a new centroid if it is more likely under the pool's distribution than under any free centroid.

    Args:
        prompts: Prompts [M, D] of the client.
        centroids: Current centroids.
        centre: Mean [D] of the pool.
        pool_variance: Variance per dimension of the pool.
        prior: Prior variance per dimension of a centroid.
        clients: Number of clients.

    Returns:
        The centroid index [M] of each prompt, and the centroids with new ones appended.
    """
    from scipy.optimize import linear_sum_assignment

    means, activation = centroids.means, 1 / (clients + 2)
    old = negative_log_density(prompts, means, centroids.variances) - torch.logit(centroids.active)
    new = negative_log_density(prompts, centre[None], (pool_variance + prior)[None])
    new = new - torch.logit(torch.tensor(activation).double())
    blocked = torch.full((len(prompts), len(prompts)), torch.inf).double().fill_diagonal_(0) + new
    cost = torch.cat([old, blocked.nan_to_num(posinf=1e12)], 1)
    label = torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(prompts.device)
    fresh = (label >= len(means)).nonzero().squeeze(1)
    label[fresh] = len(means) + torch.arange(len(fresh), device=label.device)
    return label, Centroids(
        torch.cat([means, prompts[fresh]]),
        torch.cat([centroids.variances, prior.expand(len(fresh))]),
        torch.cat([centroids.active, centroids.active.new_full((len(fresh),), activation)]),
    )


def negative_log_density(points: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Negative log density [M, J] of points [M, D] under N(means, variances I), up to a constant."""
    return points.shape[1] / 2 * variances.log() + torch.cdist(points, means).square() / (2 * variances)


def estimate(
    prompts: Sequence[Tensor], labels: Sequence[Tensor], scale: Tensor, count: int, prior: Tensor
) -> tuple[Centroids, list[Tensor]]:
    """Parameters of the centroids with matched prompts, and the labels renumbered accordingly.

    Means are weighted by the clients' `scale` [K], which sums to K. A variance is shrunk towards `prior` by one
    observation; an activation towards 1/2 by one success and one failure.
    """
    points, index = torch.cat(list(prompts)), torch.cat(list(labels))
    weight = torch.cat([scale[k].expand(len(own)) for k, own in enumerate(prompts)])
    mass = points.new_zeros(count).index_add_(0, index, weight)
    matched = mass > 0
    means = points.new_zeros(count, points.shape[1]).index_add_(0, index, weight[:, None] * points)[matched]
    mass, renumbered = mass[matched], matched.cumsum(0) - 1
    means, index = means / mass[:, None], renumbered[index]
    squares = (points - means[index]).square().mean(1)
    variances = (prior + means.new_zeros(len(means)).index_add_(0, index, weight * squares)) / (mass + 1)
    return Centroids(means, variances, (mass + 1) / (len(prompts) + 2)), [renumbered[label] for label in labels]
