"""Ridge regression as a head, its Gram matrix guessed from the clients' class means: nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, State, hyperparameter
from fedprompt.methods.components.closed_form_head import class_means, unseen
from fedprompt.methods.fed3r import Fed3R, ridge_head
from fedprompt.methods.lazy import torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "fedcof",
    paper="Goswami et al., Covariances for free: exploiting mean distributions for training-free FL, NeurIPS",
    year=2025,
    family="training-free",
)
class FedCOF(Fed3R):
    """As Fed3R for the traffic of FedNCM: the spread of client means around a class's mean stands for its covariance.

    The server sums an outer product [D, D] per class, which takes 4 C D^2 bytes.
    """

    gamma: float = hyperparameter(1.0, "added to the diagonal of each class's covariance", low=0)

    class_rows = ("sum", "count", "outer", "clients")
    deviations = (
        "clients send class sums and counts, which are as large as the paper's means and counts",
        "lambda is added to the Gram matrix as in fed3r; the official code takes a pseudo-inverse instead",
    )

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return class_means(vit, batch)

    def transform_statistics(self, statistics: State) -> State:
        """What becomes the spread: n_kc mu_kc mu_kc^T of each class of the client, and that it is one that holds it."""
        total, count = statistics["sum"], statistics["count"]
        outer = torch.einsum("ci,cj->cij", total, total / count)
        return {**statistics, "outer": outer, "clients": torch.ones_like(count)}

    def apply_statistics(self, server: State, statistics: State) -> State:
        """The head of Fed3R with G = sum_c (n_c - 1) Sigma_c + N mu mu^T: the scatter between classes is left out."""
        count, total = statistics["count"], statistics["sum"]
        covariances = spread(statistics) + self.gamma * torch.eye(total.shape[1], device=total.device)
        within = torch.einsum("c,cij->ij", (count.squeeze(1) - 1).clamp_min(0), covariances)
        mean = total.sum(0) / count.sum()
        weight = ridge_head(within + count.sum() * torch.outer(mean, mean), total, self.ridge)
        return {"head.weight": weight, "unseen": unseen(count.squeeze(1) > 0)}


def spread(statistics: State) -> Tensor:
    """Sigma_c = 1/(K_c - 1) sum_k n_kc (mu_kc - mu_c)(mu_kc - mu_c)^T of each class [C, D, D] (its equation 5).

    Unbiased for samples that are drawn alike at every client. A class of one client has no spread, and gets zeros.
    """
    total, count, clients = statistics["sum"], statistics["count"], statistics["clients"]
    around_mean = statistics["outer"] - torch.einsum("ci,cj->cij", total, total / count.clamp_min(1))
    return around_mean / (clients - 1).clamp_min(1).unsqueeze(2) * (clients > 1).unsqueeze(2)
