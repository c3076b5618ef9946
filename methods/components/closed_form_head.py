"""Base of training-free methods: the server computes a linear head from sums that clients upload once."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, Phase, State, Streams
from fedprompt.methods.lazy import Tensor, torch


class ClosedFormHead(Method):
    """A linear head [C, D] on the frozen cls feature. Classes without training samples are never predicted.

    Subclasses define what clients upload (`statistics`) and how the head follows from the sums (`apply_statistics`).
    """

    shares = False
    initial_statistics = True
    version = 2
    seen_with = held_out_with = "the server's head on frozen features"

    def memory(self, vit: Backbone, rng: Streams) -> State:
        return {"head.weight": torch.zeros(vit.classes, vit.dim), "head.bias": torch.zeros(vit.classes)}

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return batch.linear(vit.features(batch), state["head.weight"], state["head.bias"])


def unseen_bias(seen: Tensor) -> Tensor:
    """Bias [C] that excludes classes without training samples, given which classes have some [C]."""
    return torch.where(seen, 0.0, -torch.inf)


def class_sums(vit: Backbone, batch: Batch) -> State:
    """Sums [K, M, D] of the frozen cls feature per client and class, and sample counts [K, M, 1]."""
    z = vit.features(batch)
    return {"sum": batch.class_sums(z), "count": batch.class_sums(torch.ones_like(z[:, :1]))}


def second_moments(batch: Batch, z: Tensor) -> Tensor:
    """Sums [K, D, D] of z z^T over each client's samples, from features z [B, D]."""
    samples = (z * batch.mask.unsqueeze(1)).view(len(batch.counts), -1, z.shape[1])
    return samples.mT @ samples
