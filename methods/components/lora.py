"""Base of federated LoRA methods: low-rank updates of attention."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, Method, MethodError, State, Streams, hyperparameter
from fedprompt.methods.components.prompts import classify
from fedprompt.methods.lazy import Tensor, torch

PLACES = ("q", "v")


class LoRA(Method):
    """Replaces the frozen W of queries and values at every layer by W + alpha/r B A (Hu et al., 2022); linear head.

    Subclasses define which of A, B and the head are shared, local or fixed.
    """

    rank: int = hyperparameter(4, "rank r of the update B A", low=1)
    alpha: float = hyperparameter(16.0, "the update is scaled by alpha / r", low=0)

    def check(self, vit: Backbone) -> None:
        if self.rank > vit.dim:
            raise MethodError(f"{self.name}.rank={self.rank} is out of range: this backbone takes 1 to {vit.dim}.")

    def initial_factors(self, vit: Backbone, rng: Streams) -> tuple[Tensor, Tensor]:
        """A [L, 2, r, D] from uniform(-1/sqrt(D), 1/sqrt(D)), as in the authors' code, and B [L, 2, D, r] of zeros."""
        limit, places = vit.dim**-0.5, (vit.depth, len(PLACES))
        a = torch.empty(*places, self.rank, vit.dim).uniform_(-limit, limit, generator=rng("lora"))
        return a, torch.zeros(*places, vit.dim, self.rank)

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        def edit(point: str, layer: int, x: Tensor, out: Tensor) -> Tensor:
            if point not in PLACES:
                return out
            a, b = (state[name][:, layer - 1, PLACES.index(point)] for name in ("lora.A", "lora.B"))
            return out + self.alpha / self.rank * batch.matmul(batch.matmul(x, a.mT), b.mT)

        return classify(batch, vit.encode(vit.embed(batch), edit=edit), state)
