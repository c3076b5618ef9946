"""Averaged prompts under personal heads, each a combination of the cohort's that suits its client best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Phase, State, Streams, Uploads, hyperparameter
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.components.prototypes import SUMS, gathered, none_known, renewed, squared_error
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import functional, torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor

HEAD = ("head.weight", "head.bias")


@register(
    "fedpac",
    paper="Xu et al., Personalized federated learning with feature alignment and classifier collaboration, ICLR",
    year=2023,
    family="personal prompts",
)
class FedPAC(FedVPT):
    """A client trains its head, then the prompts, its features pulled towards global class prototypes.

    The server averages the prompts, and makes each client of the round a head of its own from all heads of the round:
    the convex combination whose class-wise mean features come closest to the client's. A client that was never sampled
    holds the initial head; a held-out one takes the mean of the heads of all others.
    """

    personalised = True
    rebuilt = "fedpac combines each client's head anew"
    adapted = HEAD
    seen_with = "averaged prompts and their own combination of heads"
    held_out_with = "averaged prompts and the mean of the clients' heads"
    pull: float = hyperparameter(
        1.0, "lambda, weight of the squared distance to the global prototypes in the loss", low=0
    )
    head_epochs: int | None = hyperparameter(1, "local epochs of the head, before the prompts'; None: the run's", low=1)
    head_lr: float | None = hyperparameter(None, "learning rate of the head in its phase; None: the run's", low=0)
    class_rows = SUMS
    deviations = (
        "the body that is averaged is the prompts alone, since the backbone is frozen",
        "means and variances for the heads are those of the features after training, of which the prototypes are made "
        "too; the paper takes the former under the received body, so that clients would gather twice",
        "the head trains at the run's rate unless told; the paper's rate is 0.1, after which the body has 0.01",
        "the exact programme: the official code also drops small eigenvalues, and weights below 0.001",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return none_known(vit)

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        return {f"initial.{name}": value for name, value in linear_head(vit, rng).items()}

    def phases(self) -> tuple[Phase, ...]:
        return Phase(HEAD, self.head_epochs, self.head_lr), Phase(("prompt",))

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        loss = functional.cross_entropy(classify(batch, z, state), batch.labels, reduction="none")
        if batch.phase is not None and batch.phase.trains == HEAD:
            return loss
        return loss + self.pull * squared_error(batch, z, state)

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        z = self.feature(vit, batch, state)
        squares = (z.square().sum(1) * batch.mask).view(len(batch.counts), -1).sum(1)
        return {**gathered(batch, z), "square": squares}

    def download(self, server: State, client: int | None) -> State:
        sent = {name: server[name] for name in ("prompt", "prototypes", "known")}
        if client is None:
            return {**sent, **{name: server[name] for name in HEAD}}
        return {**sent, **{name: server.get(f"{client}.{name}", server[f"initial.{name}"]) for name in HEAD}}

    def combine(self, server: State, uploads: Uploads) -> State:
        """Averages prompts and prototypes, and gives each client of the round its combination of all heads."""
        weights, unsolved = combinations(*moments(uploads))
        uploads.log("own_weight", float(weights.diagonal().mean()))
        uploads.log("unsolved", unsolved)
        heads = {
            name: torch.einsum("kj,j...->k...", weights.to(value), value) for name, value in uploads.shared.items()
        }
        own = {f"{client}.{name}": heads[name][k] for k, client in enumerate(uploads.clients) for name in HEAD}
        server = {**server, "prompt": uploads.mean("prompt"), **renewed(server, uploads.reports), **own}
        return {**server, **{name: mean_held(server, name) for name in HEAD}}


def mean_held(server: State, name: str) -> Tensor:
    """The mean of a tensor over the clients that have one of their own, added up in the order of their numbers."""
    names = [key for key in server if key.endswith(f".{name}") and key.partition(".")[0].isdigit()]
    held = [server[key] for key in sorted(names, key=lambda key: int(key.partition(".")[0]))]
    return sum(held[1:], held[0]) / len(held)


def moments(uploads: Uploads) -> tuple[Tensor, Tensor]:
    """Inner products [K, K] of the clients' class-wise mean features, and the variances [K] of these means.

    h_k = 1/n_k sum over its samples of (one-hot y) z^T, [C, D]; the variance of that mean is (E |z|^2 - |h_k|^2) / n_k.
    In double precision, as differences of nearly equal h_k are taken later.
    """
    samples = uploads.samples.to(uploads.reports["square"]).double()
    means = uploads.reports["prototype.sum"].double().flatten(1) / samples.unsqueeze(1)
    products = means @ means.T
    variances = (uploads.reports["square"].double() / samples - products.diagonal()).clamp_min(0) / samples
    return products, variances


def combinations(products: Tensor, variances: Tensor) -> tuple[Tensor, float]:
    """The weights [K, K] of all heads in each client's, rows on the simplex, and for how many clients none were found.

    Client i's minimise E |sum_j a_j h_j - h_i|^2 over what clients' samples might have been, which is the square of
    the bias and the variance (section 4.3): |sum_j a_j (h_j - h_i)|^2 + sum_j a_j^2 v_j. Where the solver finds no
    answer a client keeps its own head.
    """
    weights, unsolved = torch.eye(len(products), dtype=torch.float64), 0
    products, variances = products.cpu(), variances.cpu()
    for i in range(len(products)):
        bias = products - products[i] - products[:, i, None] + products[i, i]  # (h_j - h_i) . (h_l - h_i)
        try:
            weights[i] = on_simplex(bias + variances.diag())
        except (RuntimeError, ArithmeticError):
            unsolved += 1
    return weights, float(unsolved)


def on_simplex(matrix: Tensor) -> Tensor:
    """The a >= 0 with sum 1 that minimises a^T P a for a positive semidefinite P [K, K].

    P = A^T A, and min |A x|^2 + (1^T x - 1)^2 over x >= 0 has the same conditions of optimality once x is scaled to
    sum 1, so that SciPy's non-negative least squares, an active set method, gives it exactly. Raises `RuntimeError`
    where that reaches no end.
    """
    from scipy.optimize import nnls

    values, vectors = torch.linalg.eigh(matrix / matrix.diagonal().mean().clamp_min(1e-300))
    root = values.clamp_min(0).sqrt().unsqueeze(1) * vectors.T
    system = torch.cat([root, torch.ones(1, len(matrix)).double()])
    target = torch.zeros(len(system)).double()
    target[-1] = 1
    found = torch.from_numpy(nnls(system.numpy(), target.numpy())[0])
    return found / found.sum()
