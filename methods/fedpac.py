"""FedPAC: averaged prompts, and per client the optimal combination of the cohort's heads."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Phase, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.components import prototypes
from fedprompt.methods.components.prompts import classify, linear_head
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import Tensor, torch

HEAD = ("head.weight", "head.bias")


@register(
    "fedpac",
    paper="Xu et al., Personalized federated learning with feature alignment and classifier collaboration, ICLR",
    url="https://arxiv.org/abs/2306.11867",
    year=2023,
    family="personal prompts",
)
class FedPAC(FedVPT):
    """Clients train the head, then the prompts, with features pulled towards global class prototypes.

    The server averages the prompts and computes a personal head for each client of the cohort: the convex combination
    of all uploaded heads whose class-wise mean features are closest to the client's. A client that never trained
    has the mean of the personal heads.
    """

    personalised = True
    rebuilt = "fedpac computes a new head for each client every round"
    adapted = HEAD
    seen_with = "averaged prompts and a personal combination of heads"
    held_out_with = "averaged prompts and the mean of the clients' heads"
    pull: float = hyperparameter(1.0, "weight lambda of the squared distance to the global prototypes", low=0)
    head_epochs: int | None = hyperparameter(
        1, "local epochs of the head, before those of the prompts; None: the run's", low=1
    )
    head_lr: float | None = hyperparameter(None, "learning rate of the head; None: the run's", low=0)
    class_rows = prototypes.SUMS
    local_optimiser = "SGD 0.01, momentum 0.5 (JianXu95/FedPAC, options.py)"
    deviations = (
        "the averaged body consists of the prompts, since the backbone is frozen",
        "means and variances for combining heads use features after training, as the prototypes do; the paper uses "
        "features of the received body, which needs a second pass over the data",
        "a class without a global prototype exerts no pull; the official code (JianXu95/FedPAC, methods/fedpac.py) "
        "pulls its features to the client's own mean before training, which needs another pass over the data; effect "
        "not measured",
        "a class without samples in a round keeps its prototype; the official code drops it, and then stops with an "
        "error, because it looks up a prototype of every class",
        "by default the head trains at the run's learning rate; the paper uses 0.1 for the head and 0.01 for the body",
        "solves the quadratic programme exactly; the official code drops small eigenvalues and weights below 0.001",
    )

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return prototypes.initial(vit)

    def private(self, vit: Backbone, rng: Streams, clients: int) -> State:
        return {f"initial.{name}": value for name, value in linear_head(vit, rng).items()}

    def phases(self) -> tuple[Phase, ...]:
        return Phase(HEAD, self.head_epochs, self.head_lr), Phase(("prompt",))

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        z = self.feature(vit, batch, state)
        loss = batch.cross_entropy(classify(batch, z, state))
        if batch.phase is not None and batch.phase.trains == HEAD:
            return loss
        return loss + self.pull * prototypes.squared_error(batch, z, state)

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        z = self.feature(vit, batch, state)
        squares = (z.square().sum(1) * batch.mask).view(len(batch.counts), -1).sum(1)
        return {**prototypes.sums(batch, z), "square": squares}

    def download(self, server: State, client: int | None) -> State:
        common = {name: server[name] for name in ("prompt", "prototypes", "known")}
        if client is None:
            return {**common, **{name: server[name] for name in HEAD}}
        return {**common, **{name: server.get(f"{client}.{name}", server[f"initial.{name}"]) for name in HEAD}}

    def combine(self, server: State, uploads: Uploads) -> State:
        """Averages prompts and prototypes, and stores a combined head for each client of the cohort."""
        weights, unsolved = combination_weights(*moments(uploads))
        uploads.log("own_weight", float(weights.diagonal().mean()))
        uploads.log("unsolved", unsolved)
        heads = {
            name: torch.einsum("kj,j...->k...", weights.to(value), value) for name, value in uploads.shared.items()
        }
        personal = {f"{client}.{name}": heads[name][k] for k, client in enumerate(uploads.clients) for name in HEAD}
        updated = prototypes.updated(server, uploads.reports)
        server = {**server, "prompt": uploads.mean("prompt"), **updated, **personal}
        return {**server, **{name: mean_personal(server, name) for name in HEAD}}


def mean_personal(server: State, name: str) -> Tensor:
    """The mean of the clients' personal tensors `name`, summed in the order of client numbers."""
    names = [key for key in server if key.endswith(f".{name}") and key.partition(".")[0].isdigit()]
    values = [server[key] for key in sorted(names, key=lambda key: int(key.partition(".")[0]))]
    return sum(values[1:], values[0]) / len(values)


def moments(uploads: Uploads) -> tuple[Tensor, Tensor]:
    """Inner products [K, K] of the clients' class-wise mean features h_k, and the variances [K] of these means.

    h_k = 1/n_k sum over the client's samples of (one-hot y) z^T, [C, D]. Its variance is (E |z|^2 - |h_k|^2) / n_k.
    Double precision, because differences of nearly equal h_k follow.
    """
    samples = uploads.samples.to(uploads.reports["square"]).double()
    means = uploads.reports["prototype.sum"].double().flatten(1) / samples.unsqueeze(1)
    products = means @ means.T
    variances = (uploads.reports["square"].double() / samples - products.diagonal()).clamp_min(0) / samples
    return products, variances


def combination_weights(products: Tensor, variances: Tensor) -> tuple[Tensor, float]:
    """Weights of all heads (columns) in each client's combination (rows), and the number of unsolved clients.

    The weights of client i minimise E |sum_j a_j h_j - h_i|^2 on the simplex: squared bias plus variance (section 4.3),
    |sum_j a_j (h_j - h_i)|^2 + sum_j a_j^2 v_j. A client whose problem the solver cannot solve keeps its own head.
    """
    weights, unsolved = torch.eye(len(products), dtype=torch.float64), 0
    products, variances = products.cpu(), variances.cpu()
    for i in range(len(products)):
        bias = products - products[i] - products[:, i, None] + products[i, i]  # (h_j - h_i) . (h_l - h_i)
        try:
            weights[i] = minimise_on_simplex(bias + variances.diag())
        except (RuntimeError, ArithmeticError):
            unsolved += 1
    return weights, float(unsolved)


def minimise_on_simplex(matrix: Tensor) -> Tensor:
    """Minimises a^T P a over a >= 0 with sum 1, for a positive semidefinite P [K, K].

    With P = A^T A, the minimiser of |A x|^2 + (1^T x - 1)^2 over x >= 0 satisfies the same optimality conditions once
    scaled to sum 1. SciPy's non-negative least squares, an active-set method, solves this exactly.

    Raises:
        RuntimeError: The solver does not converge.
    """
    from scipy.optimize import nnls

    values, vectors = torch.linalg.eigh(matrix / matrix.diagonal().mean().clamp_min(1e-300))
    root = values.clamp_min(0).sqrt().unsqueeze(1) * vectors.T
    system = torch.cat([root, torch.ones(1, len(matrix)).double()])
    target = torch.zeros(len(system)).double()
    target[-1] = 1
    solution = torch.from_numpy(nnls(system.numpy(), target.numpy())[0])
    return solution / solution.sum()
