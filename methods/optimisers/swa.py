"""SWA: clients predict with the average of the server's last states."""

from __future__ import annotations

from fedprompt.methods import Optimiser, State, hyperparameter, register_optimiser
from fedprompt.methods.lazy import torch

COUNT = "count"
STATE = "last."


@register_optimiser(
    "swa",
    paper="Izmailov et al., Averaging weights leads to wider optima, UAI",
    url="https://arxiv.org/abs/1803.05407",
    year=2018,
)
class SWA(Optimiser):
    """Training and what clients receive do not change. Scores are those of the mean of the server's last states.

    The server stores these states and sends nothing more. Named after other optimisers, it averages their results.
    """

    states: int = hyperparameter(5, "states of the server that are averaged: those after the last rounds", low=1)

    deviations = (
        "averages the states after the last `states` rounds at a constant learning rate; the paper averages all states "
        "of the last quarter of training under a cyclical or high constant one",
        "the initial state is not averaged; before the last `states` rounds are complete, fewer are averaged",
    )

    @property
    def predicts_with(self) -> str:
        return f"the average of the server's last {self.states} states" if self.states > 1 else ""

    def memory(self, shared: State) -> State:
        stored = {STATE + name: value.new_zeros(self.states, *value.shape) for name, value in shared.items()}
        return {**stored, COUNT: torch.zeros(())}

    def server_step(self, before: State, averaged: State, memory: State) -> tuple[State, State]:
        stored = {
            STATE + name: torch.cat([memory[STATE + name][1:], value.unsqueeze(0)]) for name, value in averaged.items()
        }
        return averaged, {**stored, COUNT: (memory[COUNT] + 1).clamp_max(self.states)}

    def evaluated(self, shared: State, memory: State) -> State:
        count = int(memory[COUNT])
        return {name: memory[STATE + name][-count:].mean(0) for name in shared} if count else shared
