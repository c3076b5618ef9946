"""FedDyn: a dynamic regulariser aligns each client's optimum with the global one."""

from __future__ import annotations

from fedprompt.methods import ClientContext, Optimiser, State, Uploads, hyperparameter, register_optimiser
from fedprompt.methods.lazy import torch


@register_optimiser(
    "feddyn",
    paper="Acar et al., Federated learning based on dynamic regularization, ICLR",
    url="https://arxiv.org/abs/2111.04263",
    year=2021,
)
class FedDyn(Optimiser):
    """Clients minimise L_i(w) - <d_i, w> + alpha/2 |w - w_t|^2; then d_i <- d_i - alpha (w_i - w_t) (Algorithm 1).

    The new shared tensors, which clients receive, are mean w_i - h/alpha, with h <- h - alpha/N sum (w_i - w_t) over
    the cohort. The server stores -h/alpha. Clients predict with mean w_i, as in the scores of the official code. With
    alpha = 0 the new shared tensors are the mean.
    """

    alpha: float = hyperparameter(0.1, "weight of the quadratic term and step size of the dual variables", low=0)

    version = 2
    deviations = (
        "averages are weighted by sample counts; the paper uses the unweighted mean",
        "one alpha for all clients, as in the paper; the official code divides it by the client's share of the samples",
        "gradients are clipped only with --clip-norm; the official code clips them at 10",
        "rows of classes that a client does not have count as unchanged at that client",
        "scores are those of the cohort's mean; the official code also scores the mean of all clients' last models "
        "(alpemreacar/FedDyn, utils_methods.py)",
    )

    @property
    def predicts_with(self) -> str:
        return "the mean of the last cohort's models" if self.alpha else ""

    def memory(self, shared: State) -> State:
        return {name: torch.zeros_like(value) for name, value in shared.items()}

    def local(self, shared: State) -> State:
        return {name: torch.zeros_like(value) for name, value in shared.items()}

    def adjust_gradients(self, gradients: State, state: State, visit: ClientContext) -> State:
        return {
            name: value - visit.kept[name] + self.alpha * (state[name] - visit.received[name])
            for name, value in gradients.items()
        }

    def finish(self, ended: State, reach: State, visit: ClientContext) -> tuple[State, State]:
        kept = {name: dual - self.alpha * (ended[name] - visit.received[name]) for name, dual in visit.kept.items()}
        return kept, {}

    def gather(self, memory: State, before: State, uploads: Uploads, clients: int) -> State:
        moved = {name: (value - before[name]).sum(0) / clients for name, value in uploads.shared.items()}
        return {name: memory[name] + value for name, value in moved.items()}

    def evaluated(self, shared: State, memory: State) -> State:
        return {name: value - memory[name] for name, value in shared.items()} if self.alpha else shared

    def server_step(self, before: State, averaged: State, memory: State) -> tuple[State, State]:
        if not self.alpha:
            return averaged, memory
        return {name: mean + memory[name] for name, mean in averaged.items()}, memory
