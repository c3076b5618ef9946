"""FedCOF: Fed3R with covariances estimated from the clients' class means: training-free."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, hyperparameter, register
from fedprompt.methods.components.closed_form_head import ClosedFormHead, class_sums, unseen_bias
from fedprompt.methods.lazy import Tensor, functional, torch


@register(
    "fedcof",
    paper="Goswami et al., Covariances for free: exploiting mean distributions for training-free FL, NeurIPS",
    url="https://arxiv.org/abs/2412.14326",
    year=2025,
    family="training-free",
)
class FedCOF(ClosedFormHead):
    """Fed3R at the communication cost of FedNCM: class covariances are estimated from the spread of client means.

    Without a bias and in fp32, as in the official code (dipamgoswami/FedCOF, federate_classes.py). The server sums one
    outer product [D, D] per class, which takes 4 C D^2 bytes.
    """

    ridge: float = hyperparameter(0.01, "lambda of the ridge regression", low=1e-8)
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
        """Fed3R's head without bias, for G = sum_c (n_c - 1) Sigma_c + N mu mu^T without the between-class scatter."""
        count, total = statistics["count"], statistics["sum"]
        covariances = class_covariances(statistics) + self.gamma * torch.eye(total.shape[1], device=total.device)
        within = torch.einsum("c,cij->ij", (count.squeeze(1) - 1).clamp_min(0), covariances)
        mean = total.sum(0) / count.sum()
        weight = ridge_head(within + count.sum() * torch.outer(mean, mean), total, self.ridge)
        return {"head.weight": weight, "head.bias": unseen_bias(count.squeeze(1) > 0)}


def class_covariances(statistics: State) -> Tensor:
    """Sigma_c = 1/(K_c - 1) sum_k n_kc (mu_kc - mu_c)(mu_kc - mu_c)^T per class, [C, D, D] (equation 5).

    Unbiased if the samples of a class have the same distribution at every client. Zero for a class of one client.
    """
    total, count, clients = statistics["sum"], statistics["count"], statistics["clients"]
    around_mean = statistics["outer"] - torch.einsum("ci,cj->cij", total, total / count.clamp_min(1))
    return around_mean / (clients - 1).clamp_min(1).unsqueeze(2) * (clients > 1).unsqueeze(2)


def ridge_head(gram: Tensor, sums: Tensor, ridge: float) -> Tensor:
    """The normalised columns of (G + ridge I)^-1 B as [C, D], from the Gram matrix G [D, D] and class sums B^T [C, D].

    Solved in double precision, because G is ill-conditioned if there are fewer than D samples.
    """
    system = gram.double() + ridge * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    return functional.normalize(torch.linalg.solve(system, sums.double().T).T, dim=1).to(sums.dtype)
