"""FedCOF: Fed3R with covariances estimated from the clients' class means: training-free."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, hyperparameter, register
from fedprompt.methods.components.closed_form_head import class_sums, unseen_bias
from fedprompt.methods.fed3r import Fed3R, ridge_head
from fedprompt.methods.lazy import Tensor, torch


@register(
    "fedcof",
    paper="Goswami et al., Covariances for free: exploiting mean distributions for training-free FL, NeurIPS",
    year=2025,
    family="training-free",
)
class FedCOF(Fed3R):
    """Fed3R at the communication cost of FedNCM: class covariances are estimated from the spread of client means.

    The server sums one outer product [D, D] per class, which takes 4 C D^2 bytes.
    """

    gamma: float = hyperparameter(1.0, "added to the diagonal of each class's covariance", low=0)

    class_rows = ("sum", "count", "outer", "clients")
    local_optimiser = "none: nothing is trained"
    deviations = (
        "clients upload class sums and counts, which have the size of the paper's means and counts",
        "lambda is added to the Gram matrix, as in fed3r; the official code uses a pseudo-inverse",
    )

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        return class_sums(vit, batch)

    def transform_statistics(self, statistics: State) -> State:
        """Adds the outer product n_kc mu_kc mu_kc^T per class of the client, and a client count of one."""
        total, count = statistics["sum"], statistics["count"]
        outer = torch.einsum("ci,cj->cij", total, total / count)
        return {**statistics, "outer": outer, "clients": torch.ones_like(count)}

    def apply_statistics(self, server: State, statistics: State) -> State:
        """The head of Fed3R with G = sum_c (n_c - 1) Sigma_c + N mu mu^T, without the between-class scatter."""
        count, total = statistics["count"], statistics["sum"]
        covariances = class_covariances(statistics) + self.gamma * torch.eye(total.shape[1], device=total.device)
        within = torch.einsum("c,cij->ij", (count.squeeze(1) - 1).clamp_min(0), covariances)
        mean = total.sum(0) / count.sum()
        weight = ridge_head(within + count.sum() * torch.outer(mean, mean), total, self.ridge)
        return {"head.weight": weight, "unseen": unseen_bias(count.squeeze(1) > 0)}


def class_covariances(statistics: State) -> Tensor:
    """Sigma_c = 1/(K_c - 1) sum_k n_kc (mu_kc - mu_c)(mu_kc - mu_c)^T per class, [C, D, D] (equation 5).

    Unbiased if the samples of a class have the same distribution at every client. Zero for a class of one client.
    """
    total, count, clients = statistics["sum"], statistics["count"], statistics["clients"]
    around_mean = statistics["outer"] - torch.einsum("ci,cj->cij", total, total / count.clamp_min(1))
    return around_mean / (clients - 1).clamp_min(1).unsqueeze(2) * (clients > 1).unsqueeze(2)
