"""Pieces that methods are made of: initial prompts and heads, and where prompts go in the sequence."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, State, Streams
from fedprompt.methods.lazy import functional, torch

if TYPE_CHECKING:
    from torch import Tensor

HEAD_DEVIATION = 0.02  # timm's initial standard deviation of a linear layer


def vpt_uniform(vit: Backbone, shape: tuple[int, ...], rng: Streams, purpose: str = "prompt") -> Tensor:
    """Prompt tokens [*shape, D] from uniform(-v, v), v = sqrt(6 / (3 patch^2 + D)) (Jia et al., 2022, their code)."""
    limit = sqrt(6 / (3 * vit.patch_size**2 + vit.dim))
    return torch.empty(*shape, vit.dim).uniform_(-limit, limit, generator=rng(purpose))


def linear_head(vit: Backbone, rng: Streams) -> State:
    """`head.weight` [C, D] of small normal values and `head.bias` [C] of zeros; the same for every method."""
    weight = torch.empty(vit.classes, vit.dim).normal_(0, HEAD_DEVIATION, generator=rng("head"))
    return {"head.weight": weight, "head.bias": torch.zeros(vit.classes)}


def classify(batch: Batch, feature: Tensor, state: State) -> Tensor:
    """Logits [B, C] of the linear head on a feature [B, D]."""
    return batch.linear(feature, state["head.weight"], state["head.bias"])


def insert_after_cls(x: Tensor, prompts: Tensor) -> Tensor:
    """Tokens [B, T, D] with prompts [B, p, D] put in beside cls: [B, T + p, D]."""
    return torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)


def replace_after_cls(x: Tensor, prompts: Tensor) -> Tensor:
    """Tokens [B, T, D] whose p tokens beside cls are replaced by prompts [B, p, D]."""
    return torch.cat([x[:, :1], prompts, x[:, 1 + prompts.shape[1] :]], dim=1)


def cosines(batch: Batch, query: Tensor, keys: Tensor) -> Tensor:
    """Cosines [B, M] of queries [B, D] with each sample's own client's keys [K, M, D]."""
    return batch.matmul(functional.normalize(query, dim=-1), functional.normalize(keys, dim=-1).transpose(1, 2))


def best(batch: Batch, scores: Tensor, pool: Tensor, count: int) -> Tensor:
    """The `count` members of each sample's own client's pool [K, M, ...] that score highest: [B, count, ...].

    Scores are [B, M] and take no gradient here; a member that no sample chooses gets one of exact zeros.
    """
    chosen = functional.one_hot(scores.topk(count).indices, scores.shape[1]).to(pool.dtype)
    return batch.matmul(chosen, pool.flatten(2)).unflatten(2, pool.shape[2:])
