"""SCAFFOLD: control variates against the drift of clients."""

from __future__ import annotations

from fedprompt.methods.base import State, Uploads
from fedprompt.methods.lazy import torch
from fedprompt.methods.optimiser import ClientContext, Optimiser
from fedprompt.methods.registry import register_optimiser


@register_optimiser("scaffold", paper="Karimireddy et al., Stochastic controlled averaging, ICML", year=2020)
class Scaffold(Optimiser):
    """Clients step along g + c - c_i; then c_i <- c_i - c + (w_t - w_i) / (K lr), c <- c + |S|/N mean dc_i (option II).

    w_t - w_i is K lr times the mean gradient for SGD without momentum. With it, K lr becomes what it is in truth: lr
    times the sum of the weights that the steps' gradients have in w_t - w_i. Control variates start at zero, so that
    in round 1 nothing is corrected.
    """

    deviations = (
        "the local SGD has momentum: c_i is the mean of its gradients by the weights that they have in w_t - w_i (Wang "
        "et al., FedNova, 2020, section 3), where the paper divides by K lr, which would make it too large by up to "
        "1 / (1 - momentum)",
        "clients' tensors are averaged by sample counts and the server's rate is 1; control variates are averaged "
        "plainly, as in the paper",
        "c_i is of the gradient that is stepped along: with weight decay and other plug-ins' terms, clipped where "
        "gradients are",
        "a client that does not hold a class has a control variate of zero there, and takes no step",
    )

    def memory(self, shared: State) -> State:
        return {name: torch.zeros_like(value) for name, value in shared.items()}

    def sent(self, memory: State) -> State:
        return memory

    def local(self, shared: State) -> State:
        return {name: torch.zeros_like(value) for name, value in shared.items()}

    def adjust_gradients(self, gradients: State, state: State, visit: ClientContext) -> State:
        return {name: value + (visit.sent[name] - visit.kept[name]) for name, value in gradients.items()}

    def finish(self, ended: State, reach: State, visit: ClientContext) -> tuple[State, State]:
        drift = {name: (visit.received[name] - ended[name]) / moved for name, moved in reach.items()}
        changes = {name: value - visit.sent[name] for name, value in drift.items()}
        return {**visit.kept, **{name: visit.kept[name] + value for name, value in changes.items()}}, changes

    def gather(self, memory: State, before: State, uploads: Uploads, clients: int) -> State:
        return {**memory, **{name: memory[name] + value.sum(0) / clients for name, value in uploads.reports.items()}}
