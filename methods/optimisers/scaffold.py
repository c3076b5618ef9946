"""SCAFFOLD: control variates that correct client drift."""

from __future__ import annotations

from fedprompt.methods import ClientContext, Optimiser, State, Uploads, register_optimiser
from fedprompt.methods.lazy import torch


@register_optimiser(
    "scaffold",
    paper="Karimireddy et al., Stochastic controlled averaging, ICML",
    url="https://arxiv.org/abs/1910.06378",
    year=2020,
)
class Scaffold(Optimiser):
    """Clients step along g + c - c_i; then c_i <- c_i - c + (w_t - w_i) / (K lr), c <- c + |S|/N mean dc_i (option II).

    For SGD without momentum, w_t - w_i is K lr times the mean gradient. With momentum, K lr is replaced by lr times the
    sum of the weights that the gradients have in w_t - w_i. Control variates start at zero: round 1 is not corrected.
    """

    needs_sgd = "scaffold's control variates divide a client's move by the steps and learning rate of SGD"
    deviations = (
        "the local SGD has momentum: c_i is the mean of the gradients weighted as in w_t - w_i (Wang et al., FedNova, "
        "2020, section 3); the paper's division by K lr would make it too large by up to 1 / (1 - momentum)",
        "shared tensors are averaged by sample counts, with a server learning rate of 1; control variates are averaged "
        "without weights, as in the paper",
        "c_i estimates the applied gradient: with weight decay and the terms of other optimisers, after clipping",
        "for rows of classes that a client does not have, its control variate is zero and nothing is updated",
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
