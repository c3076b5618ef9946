"""An averaged model beside a personal one of the same tensors: what ditto, apfl and pfedme have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, State, Streams
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

GLOBAL = ("prompt", "head.weight", "head.bias")
PERSONAL = tuple(f"personal.{name}" for name in GLOBAL)


class TwoModels(FedVPT):
    """VPT-shallow twice: the averaged model w, and a client's own, which starts as w does and never travels.

    Here a client predicts with its own model. A held-out client's is the averaged one, until it adapts.
    """

    personalised = True
    adapted = PERSONAL

    def local(self, vit: Backbone, rng: Streams) -> State:
        return personal_copy(self.shared(vit, rng))

    def held_out_local(self, received: State, mean: State) -> State:
        return {**mean, **personal_copy(received)}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return self.personal_logits(vit, batch, state)

    def global_logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Logits [B, C] of the averaged model."""
        return super().logits(vit, batch, state)

    def personal_logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Logits [B, C] of the client's own model."""
        return super().logits(vit, batch, {name: state[own] for name, own in zip(GLOBAL, PERSONAL, strict=True)})


def personal_copy(state: State) -> State:
    """The tensors of the averaged model under the names of a personal one."""
    return {own: state[name] for name, own in zip(GLOBAL, PERSONAL, strict=True)}


def squared_distance(state: State) -> Tensor:
    """|v - w|^2 between each client's own model and the averaged one that it holds, [K]."""
    gaps = [state[own] - state[name] for name, own in zip(GLOBAL, PERSONAL, strict=True)]
    return torch.stack([gap.square().flatten(1).sum(1) for gap in gaps]).sum(0)
