"""Soft weights of the Class-Contextualized Mixed Prompt (PEP-FedPT, arXiv 2510.25372, as reconstructed).

Every function is for B samples of K clients; a trailing axis M runs over the classes that the weights may fall on:
those that a client holds where the rule reads its prior, all of them elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fedprompt.methods.base import Batch, State
from fedprompt.methods.lazy import functional, torch

if TYPE_CHECKING:
    from torch import Tensor

LEAST_VARIANCE = 1e-12  # one sample a class leaves none, and scores must stay finite
Similarity = Literal["centred-cosine", "cosine", "gaussian"]
Mixing = Literal["posterior", "prior", "prototype", "hard", "uniform", "oracle"]


@dataclass(frozen=True)
class Prototypes:
    """Global class prototypes as K clients received them: `means` [K, M, D] of the classes `known` [K, M], their common
    `centre` [K, D], and the pooled within-class `variance` [K]; the last two where a similarity needs them."""

    means: Tensor
    known: Tensor
    centre: Tensor | None = None
    variance: Tensor | None = None

    @classmethod
    def of(cls, state: State) -> Prototypes | None:
        """Those in a state; None where it has none."""
        if "prototypes" not in state:
            return None
        return cls(state["prototypes"], state["known"], state.get("centre"), state.get("variance"))


def similarities(batch: Batch, z: Tensor, prototypes: Prototypes, kind: Similarity, tau: float) -> Tensor:
    """Scores [B, M] of a feature z [B, D] against prototypes.

    Cosine over tau; centred, with the mean of all known prototypes taken from both sides first; or the Gaussian
    -|z - mu|^2 / (2 sigma^2), with the pooled within-class variance in place of tau.
    """
    means = prototypes.means
    if kind == "gaussian":
        if prototypes.variance is None:
            raise ValueError("the Gaussian similarity needs the pooled variance")
        squares = z.square().sum(1, keepdim=True) + batch.own(means.square().sum(-1))
        distances = squares - 2 * batch.matmul(z, means.transpose(1, 2))
        return -distances / (2 * batch.own(prototypes.variance).unsqueeze(1).clamp_min(LEAST_VARIANCE))
    if kind == "centred-cosine":
        if prototypes.centre is None:
            raise ValueError("the centred cosine needs the centre")
        z, means = z - batch.own(prototypes.centre), means - prototypes.centre.unsqueeze(1)
    cosine = batch.matmul(functional.normalize(z, dim=-1), functional.normalize(means, dim=-1).transpose(1, 2))
    return cosine / tau


def posterior(scores: Tensor, prior: Tensor, known: Tensor) -> Tensor:
    """softmax(log prior + score) [B, M] over the classes that have both a prior and a prototype.

    All inputs are [B, M]. A class without either gets weight zero. Where none of a client's classes has a
    prototype yet, the weights are the prior.
    """
    usable = (prior > 0) & (known > 0)
    stranded = ~usable.any(dim=1, keepdim=True)
    usable = torch.where(stranded, prior > 0, usable)
    logits = prior.log() + torch.where(stranded, torch.zeros_like(scores), scores)
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
    """Weights [B, M] over the class prompts under a `prior` [K, M], each row summing to one, by a mixing rule.

    `posterior` is the paper's prior times prototype; the others are its ablations: `prototype` is handed a uniform
    prior, `hard` takes the posterior's largest class alone, and `oracle` the true one, which no deployed model could.
    Only those that compare samples with prototypes need these.
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
