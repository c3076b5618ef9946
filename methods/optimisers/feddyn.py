"""FedDyn: each client's loss is changed so that its optimum is the federation's."""

from __future__ import annotations

from fedprompt.methods.base import State, Uploads, hyperparameter
from fedprompt.methods.lazy import torch
from fedprompt.methods.optimiser import ClientContext, Optimiser
from fedprompt.methods.registry import register_optimiser


@register_optimiser("feddyn", paper="Acar et al., Federated learning based on dynamic regularization, ICLR", year=2021)
class FedDyn(Optimiser):
    """Clients minimise L_i(w) - <d_i, w> + alpha/2 |w - w_t|^2; then d_i <- d_i - alpha (w_i - w_t) (its Algorithm 1).

    The server continues from mean w_i - h/alpha, with h <- h - alpha/N sum (w_i - w_t) over the round's clients; it
    keeps -h/alpha. With alpha = 0 there is nothing to correct, and the server continues from the mean.
    """

    alpha: float = hyperparameter(0.1, "weight of the quadratic term, and rate of the linear one", low=0)

    deviations = (
        "clients' tensors are averaged by sample counts, where the paper takes the plain mean; alpha is one for all as "
        "in the paper, where the official code divides it by a client's share of the samples",
        "gradients are not clipped unless the run says so (--clip-norm); the official code clips them at 10",
        "a class that a client does not hold counts there as not moved",
    )

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

    def server_step(self, before: State, averaged: State, memory: State) -> tuple[State, State]:
        if not self.alpha:
            return averaged, memory
        return {name: mean + memory[name] for name, mean in averaged.items()}, memory
