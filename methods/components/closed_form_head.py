"""What methods without training share: a head that the server computes from sums which clients send once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Method, Phase, State, Streams
from fedprompt.methods.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class ClosedForm(Method):
    """A linear head [C, D] on the frozen cls feature, and minus infinity for each class that nobody holds.

    A method says what clients send (`statistics`) and what head follows from their sum (`fold`).
    """

    shares = False
    initial_statistics = True
    log_odds = False  # unit columns: the scores have no scale that a log prior could be measured against
    version = 2
    seen_with = held_out_with = "the server's head on frozen features"

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {"head.weight": torch.zeros(vit.classes, vit.dim), "unseen": torch.zeros(vit.classes)}

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return batch.linear(vit.features(batch), state["head.weight"], state["unseen"])


def unseen(held: Tensor) -> Tensor:
    """The bias [C] that keeps a class which nobody holds from being chosen, given which are held [C]."""
    return torch.where(held, 0.0, -torch.inf)


def class_means(vit: Backbone, batch: Batch) -> State:
    """Each client's class sums [K, M, D] of the frozen cls feature, and its counts [K, M, 1]."""
    z = vit.features(batch)
    return {"sum": batch.class_sums(z), "count": batch.class_sums(torch.ones_like(z[:, :1]))}
