"""Prompt pools of clients taken for samples around common prompts, which the server infers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, State, Streams, Uploads, hyperparameter
from fedprompt.methods.components.prompt_matching import fit
from fedprompt.methods.components.prompts import cosines, linear_head, vpt_uniform
from fedprompt.methods.fedl2p import FedL2P
from fedprompt.methods.lazy import torch
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register(
    "pfpt",
    paper="Weng et al., Probabilistic federated prompt-tuning with non-IID and imbalanced data, NeurIPS",
    year=2024,
    family="global prompts",
)
class PFPT(FedL2P):
    """A prompt pool per client, chosen from per sample; the server matches the clients' pools to common prompts.

    Prompts are nearest to the projected frozen cls feature, without further keys. The pool that goes on is of those
    common prompts that some client's were matched to, so its size changes. A held-out client predicts with that pool.
    """

    pull: float = hyperparameter(0.01, "weight of the cosine between a projected feature and its prompts", low=0)
    sweeps: int = hyperparameter(10, "turns of matching and estimation on the server, at most", low=1)
    no_decay = selects = ("pool",)
    rebuilt = "pfpt infers its prompts anew, and changes their number"
    deviations = (
        "reconstructed: a client's prompts are Gaussian around the centroids that are active there, with variances, "
        "activations and means in closed form; the official code trains networks for the first two by Adam, 50 steps",
        "a prompt founds a centroid where it is likelier under the pool's own distribution than under any free one",
        "a client's likelihood weighs as its samples do, so that an identity matching is federated averaging",
        "only prompts that a client's samples chose are matched; the others are as they were received",
        "a linear head on cls; official: a two-layer head on the logits of 1000 ImageNet classes",
        "not repeated from the official code: the cosine is added to the loss, which pushes prompts away; accuracy is "
        "read where the test loss is least; cohorts cannot be repeated",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        pool = vpt_uniform(vit, (self.pool, self.tokens), rng)
        return {"pool": pool, "projection": torch.eye(vit.dim), **linear_head(vit, rng)}

    def nearness(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        query = batch.matmul(vit.features(batch), state["projection"])
        return cosines(batch, query, state["pool"].mean(2))

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        """How many samples chose each prompt [K, M]."""
        scores = self.nearness(vit, batch, state)
        chosen = torch.zeros_like(scores).scatter(1, scores.topk(self.chosen).indices, 1.0)
        return {"drawn": batch.class_sums(chosen).sum(1)}

    def combine(self, server: State, uploads: Uploads) -> State:
        used = [drawn > 0 for drawn in uploads.reports["drawn"]]
        prompts = [own[mask].flatten(1) for own, mask in zip(uploads.shared["pool"], used, strict=True)]
        means, _ = fit(prompts, uploads.samples.to(server["pool"]), server["pool"].flatten(1), self.sweeps)
        return {**super().combine(server, uploads), "pool": means.unflatten(1, (self.tokens, -1))}
