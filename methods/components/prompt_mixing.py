"""Weights of class prompts in the Class-Contextualized Mixed Prompt (PEP-FedPT, arXiv 2510.25372, reconstructed).

All functions take B samples of K clients. The last axis M covers the classes that may get weight: the client's classes
if the rule reads its prior, otherwise all classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedprompt.methods import Batch, State
from fedprompt.methods.lazy import Tensor, functional, torch

MIN_VARIANCE = 1e-12  # keeps scores finite when every class has one sample
Similarity = Literal["centred-cosine", "cosine", "gaussian"]
Mixing = Literal["posterior", "prior", "prototype", "hard", "uniform", "oracle"]


@dataclass(frozen=True)
class Prototypes:
    """Global class prototypes as K clients received them.

    `means` [K, M, D], the mask `known` [K, M], their common `centre` [K, D] for the centred cosine, and the pooled
    within-class `variance` [K] for the Gaussian.
    """

    means: Tensor
    known: Tensor
    centre: Tensor | None = None
    variance: Tensor | None = None

    @classmethod
    def from_state(cls, state: State) -> Prototypes | None:
        """The prototypes in a state; None if it has none."""
        if "prototypes" not in state:
            return None
        return cls(state["prototypes"], state["known"], state.get("centre"), state.get("variance"))


def similarities(batch: Batch, z: Tensor, prototypes: Prototypes, kind: Similarity, tau: float) -> Tensor:
    """Scores [B, M] of features z [B, D] against prototypes.

    `cosine` is divided by tau; `centred-cosine` first subtracts the mean of all known prototypes from both sides;
    `gaussian` is -|z - mu|^2 / (2 sigma^2) with the pooled within-class variance, without tau.
    """
    means = prototypes.means
    if kind == "gaussian":
        if prototypes.variance is None:
            raise ValueError("the Gaussian similarity needs the pooled variance")
        squares = z.square().sum(1, keepdim=True) + batch.own(means.square().sum(-1))
        distances = squares - 2 * batch.matmul(z, means.transpose(1, 2))
        return -distances / (2 * batch.own(prototypes.variance).unsqueeze(1).clamp_min(MIN_VARIANCE))
    if kind == "centred-cosine":
        if prototypes.centre is None:
            raise ValueError("the centred cosine needs the centre")
        z, means = z - batch.own(prototypes.centre), means - prototypes.centre.unsqueeze(1)
    cosine = batch.matmul(functional.normalize(z, dim=-1), functional.normalize(means, dim=-1).transpose(1, 2))
    return cosine / tau


def posterior(scores: Tensor, prior: Tensor, known: Tensor) -> Tensor:
    """softmax(log prior + score) [B, M] over the classes with both a prior and a prototype; zero for other classes.

    All inputs are [B, M]. If none of a client's classes has a prototype, the weights are the prior.
    """
    usable = (prior > 0) & (known > 0)
    none_usable = ~usable.any(dim=1, keepdim=True)
    usable = torch.where(none_usable, prior > 0, usable)
    logits = prior.log() + torch.where(none_usable, torch.zeros_like(scores), scores)
    return logits.masked_fill(~usable, -torch.inf).softmax(dim=1)


def soft_weights(
    batch: Batch,
    z: Tensor,
    prior: Tensor,
    prototypes: Prototypes | None,
    *,
    mixing: Mixing,
    similarity: Similarity,
    tau: float,
) -> Tensor:
    """Weights [B, M] of the class prompts; each row sums to one.

    Args:
        batch: The batch.
        z: Features [B, D].
        prior: Class prior [K, M]; callers pass a uniform one for `prototype` and `uniform`.
        prototypes: Needed by the rules that compare samples with prototypes.
        mixing: `posterior` (the paper's prior times prototype similarity) or an ablation: `hard` uses only the class
            with the largest posterior, `oracle` the true class, which is unknown in practice.
        similarity: How features are compared with prototypes.
        tau: Temperature of the cosine similarities.
    """
    if mixing == "oracle":
        return functional.one_hot(batch.labels, prior.shape[1]).to(z.dtype)
    if mixing in ("prior", "uniform"):
        return batch.own(prior)
    if prototypes is None:
        raise ValueError(f"mixing {mixing!r} needs prototypes")
    scores = similarities(batch, z, prototypes, similarity, tau)
    weights = posterior(scores, batch.own(prior), batch.own(prototypes.known))
    return functional.one_hot(weights.argmax(1), prior.shape[1]).to(z.dtype) if mixing == "hard" else weights
