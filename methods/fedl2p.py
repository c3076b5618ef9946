"""FedL2P: an averaged prompt pool, from which prompts are selected per sample."""

from __future__ import annotations

from typing import ClassVar, Literal

from fedprompt.methods import Backbone, Batch, Method, MethodError, State, Streams, hyperparameter, register
from fedprompt.methods.components.prompts import (
    classify,
    cosines,
    insert_after_cls,
    linear_head,
    select_top,
    vpt_uniform,
)
from fedprompt.methods.lazy import Tensor


@register(
    "fedl2p",
    paper="Wang et al., Learning to prompt for continual learning, CVPR; averaged",
    url="https://arxiv.org/abs/2112.08654",
    year=2022,
    family="global prompts",
    variants={"read-prompts": {"read": "prompts"}},
)
class FedL2P(Method):
    """Averages a prompt pool with keys. Each sample uses the prompts with the keys nearest to its frozen cls feature.

    Training pulls selected keys towards the feature. A held-out client predicts with the same pool.
    """

    seen_with = held_out_with = "the averaged model, with prompts selected from the pool per sample"
    pool: int = hyperparameter(20, "prompts in the pool", low=1)
    chosen: int = hyperparameter(10, "prompts selected per sample", low=1)
    tokens: int = hyperparameter(1, "tokens of each prompt", low=1)
    pull: float = hyperparameter(0.5, "weight of the cosine between a sample and its selected keys", low=0)
    read: Literal["cls", "prompts"] = hyperparameter(
        "cls", "input of the head: cls, or the mean of the selected prompts"
    )
    no_decay: ClassVar[tuple[str, ...]] = ("pool", "keys")
    selects: ClassVar[tuple[str, ...]] = ("pool", "keys")
    local_optimiser = "Adam 1e-4 (grbagwe/Fed-CPrompt, configs/L2P_cifar100_niid0_5.yaml)"
    deviations: ClassVar[tuple[str, ...]] = (
        "the head reads cls, as in all methods here; L2P reads the mean of the selected prompts (`read`)",
        "selects 10 of 20 one-token prompts, 10 tokens per sample, as federated versions of L2P do; the official code "
        "(google-research/l2p, configs/cifar100_l2p.py) selects 4 of 10 ten-token prompts, 40 tokens, and its PyTorch "
        "port (JH-LEE-KR/l2p-pytorch) 5 of 10 five-token prompts, 25 tokens; effect not measured",
        "selects per sample in training and at test; both codes give a whole batch of 16 the prompts that most of its "
        "samples select, also at test, so that their predictions depend on the batch; effect not measured",
        "the pull has weight 0.5, the paper's lambda; the official code has 1.0, the port 0.1",
        "trains with the run's optimiser; both codes use Adam with learning rate 0.03 and gradients clipped to norm 1",
        "not copied from a federated version: it adds the cosine to the loss, which pushes keys away from samples",
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

    def similarity(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cosines [B, M] between the frozen cls feature of each sample and the keys."""
        return cosines(batch, vit.features(batch), state["keys"])

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        return self._logits(vit, batch, state, self.similarity(vit, batch, state))

    def loss(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Cross-entropy minus `pull` times the sum of the selected keys' cosines (equation 5)."""
        scores = self.similarity(vit, batch, state)
        logits = self._logits(vit, batch, state, scores)
        pulled = scores.topk(self.chosen).values.sum(1)
        return batch.cross_entropy(logits) - self.pull * pulled

    def _logits(self, vit: Backbone, batch: Batch, state: State, scores: Tensor) -> Tensor:
        prompts = select_top(batch, scores, state["pool"], self.chosen).flatten(1, 2)
        x = insert_after_cls(vit.embed(batch), prompts)
        if self.read == "cls":
            return classify(batch, vit.encode(x), state)
        return classify(batch, vit.outputs(x, 1 + prompts.shape[1])[:, 1:].mean(1), state)
