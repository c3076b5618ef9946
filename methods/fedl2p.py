"""A pool of prompts, some of which are chosen for each sample, averaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams, hyperparameter
from fedprompt.methods.components.prompts import best, classify, cosines, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.errors import MethodError
from fedprompt.methods.lazy import functional
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "fedl2p",
    paper="Wang et al., Learning to prompt for continual learning, CVPR; averaged",
    year=2022,
    family="global prompts",
    variants={"read-prompts": {"read": "prompts"}},
)
class FedL2P(Method):
    """Learning to prompt, averaged: the pool's prompts whose keys are nearest to the frozen cls feature go in.

    Chosen keys are pulled towards the feature. A held-out client predicts with the same pool, chosen sample by sample.
    """

    seen_with = held_out_with = "the averaged model, each sample with the prompts of the pool nearest to it"
    pool: int = hyperparameter(20, "prompts in the pool", low=1)
    chosen: int = hyperparameter(10, "prompts chosen for a sample", low=1)
    tokens: int = hyperparameter(1, "tokens of each prompt", low=1)
    pull: float = hyperparameter(0.5, "weight of the cosine between a sample and the keys chosen for it", low=0)
    read: Literal["cls", "prompts"] = hyperparameter(
        "cls", "what the head reads: cls, or the mean of the chosen prompts"
    )
    no_decay: ClassVar[tuple[str, ...]] = ("pool", "keys")
    selects: ClassVar[tuple[str, ...]] = ("pool", "keys")
    deviations: ClassVar[tuple[str, ...]] = (
        "the head reads cls as in every other method here; L2P reads the mean of the chosen prompts (`read`)",
        "20 prompts of one token and ten chosen, as federated versions of it have them; L2P: ten of five tokens, five",
        "not repeated from a federated version: it adds the cosine to the loss, which pushes keys away from samples",
    )

    def check(self, vit: Backbone) -> None:
        if self.chosen > self.pool:
            raise MethodError(f"fedl2p.chosen={self.chosen}: the pool has {self.pool} prompts; raise fedl2p.pool.")

    def shared(self, vit: Backbone, rng: Streams) -> State:
        return {
            "pool": vpt_uniform(vit, (self.pool, self.tokens), rng),
            "keys": vpt_uniform(vit, (self.pool,), rng, "keys"),
            **linear_head(vit, rng),
        }

    def nearness(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cosines [B, M] of each sample's frozen cls feature with the keys."""
        return cosines(batch, vit.features(batch), state["keys"])

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return self._logits(vit, batch, state, self.nearness(vit, batch, state))

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cross-entropy less `pull` times the sum of the chosen keys' cosines (its equation 5)."""
        scores = self.nearness(vit, batch, state)
        logits = self._logits(vit, batch, state, scores)
        pulled = scores.topk(self.chosen).values.sum(1)
        return functional.cross_entropy(logits, batch.labels, reduction="none") - self.pull * pulled

    def _logits(self, vit: Backbone, batch: Batch, state: State, scores: Tensor) -> Tensor:
        prompts = best(batch, scores, state["pool"], self.chosen).flatten(1, 2)
        x = insert_after_cls(vit.embed(batch), prompts)
        if self.read == "cls":
            return classify(batch, vit.encode(x), state)
        return classify(batch, vit.outputs(x, 1 + prompts.shape[1])[:, 1:].mean(1), state)
