"""PFPT: the server infers common prompts, treating the clients' prompts as samples around them."""

from __future__ import annotations

from fedprompt.methods import Backbone, Batch, State, Streams, Uploads, hyperparameter, register
from fedprompt.methods.components.prompt_matching import match_prompts
from fedprompt.methods.components.prompts import cosines, linear_head, vpt_uniform
from fedprompt.methods.fedl2p import FedL2P
from fedprompt.methods.lazy import Tensor, torch


@register(
    "pfpt",
    paper="Weng et al., Probabilistic federated prompt-tuning with non-IID and imbalanced data, NeurIPS",
    url="https://arxiv.org/abs/2502.19752",
    year=2024,
    family="global prompts",
    variants={"average": {"match": False}},
)
class PFPT(FedL2P):
    """FedL2P without keys; the server matches the prompts of the clients' pools to common prompts.

    Each sample uses the prompts nearest to its projected frozen cls feature. From each client the server takes the
    prompts that any client of the cohort used. The new pool contains the common prompts with at least one match, so its
    size changes. A held-out client predicts with that pool.
    """

    pull: float = hyperparameter(0.01, "weight of the cosine between a projected feature and its prompts", low=0)
    sweeps: int = hyperparameter(10, "maximum number of alternations of matching and estimation on the server", low=1)
    match: bool = hyperparameter(True, "match the clients' prompts; False: average each prompt of the pool")
    version = 2
    no_decay = selects = ("pool",)
    upload_kinds = {"drawn": "sample counts"}
    rebuilt = "pfpt infers new prompts every round and changes their number"
    local_optimiser = "Adam 1e-4 or 5e-4, betas 0.9 and 0.98, eps 1e-6 (PeiYauWeng/PFPT, Algo/fedavg.py, scripts)"
    deviations = (
        "reconstructed: a client's prompts are Gaussian around its active centroids, with means, variances and "
        "activations in closed form; the official code trains networks for the latter two with 50 steps of Adam",
        "a prompt starts a new centroid if it is more likely under the pool's distribution than under free centroids",
        "likelihoods are weighted by sample counts, so that an identity matching equals federated averaging",
        "matching does not clearly beat averaging each prompt of the pool (`average`): on the embedded default "
        "(digits, seeds 0 to 2), seen clients' mean accuracy is 45.1 % with matching and 49.1 % with averaging at "
        "alpha 0.05, and 63.8 % and 61.9 % at alpha 0.5",
        "the whole pool of a client travels; the new pool has 18 to 29 prompts after 8 rounds of the same runs",
        "a linear head on cls; the official code uses a two-layer head on the logits of 1000 ImageNet classes",
        "not copied from the official code: adding the cosine to the loss, which pushes prompts away; reporting "
        "accuracy at the minimum of the test loss; cohorts that are not reproducible",
    )

    def shared(self, vit: Backbone, rng: Streams) -> State:
        pool = vpt_uniform(vit, (self.pool, self.tokens), rng)
        projection = torch.empty(vit.dim, vit.dim).uniform_(-1, 1, generator=rng("projection"))
        return {"pool": pool, "projection": projection, **linear_head(vit, rng)}

    def similarity(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        query = batch.matmul(vit.features(batch), state["projection"])
        return cosines(batch, query, state["pool"].mean(2))

    def reports(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Number of samples that selected each prompt, [K, pool]."""
        scores = self.similarity(vit, batch, state)
        chosen = torch.zeros_like(scores).scatter(1, scores.topk(self.chosen).indices, 1.0)
        return {"drawn": batch.class_sums(chosen).sum(1)}

    def combine(self, server: State, uploads: Uploads) -> State:
        """Averages projection and head; the new pool has the matched prompts, or the averaged ones."""
        averaged = super().combine(server, uploads)
        if not self.match:
            return averaged
        used = uploads.reports["drawn"].sum(0) > 0
        prompts = [own[used].flatten(1) for own in uploads.shared["pool"]]
        means, _ = match_prompts(prompts, uploads.samples.to(server["pool"]), server["pool"].flatten(1), self.sweeps)
        uploads.log("prompts", len(means))
        return {**averaged, "pool": means.unflatten(1, (self.tokens, -1))}
