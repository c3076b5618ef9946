"""Building blocks of methods: initial prompts and heads, insertion of prompts, and selection from prompt pools."""

from __future__ import annotations

from math import sqrt

from fedprompt.methods import Backbone, Batch, State, Streams
from fedprompt.methods.lazy import Tensor, functional, torch

HEAD_STD = 0.02  # timm's initial standard deviation of a linear layer


def vpt_uniform(vit: Backbone, shape: tuple[int, ...], rng: Streams, purpose: str = "prompt") -> Tensor:
    """Prompt tokens [*shape, D] from uniform(-v, v), v = sqrt(6 / (3 patch^2 + D)), Jia et al.'s (2022) code."""
    limit = sqrt(6 / (3 * vit.patch_size**2 + vit.dim))
    return torch.empty(*shape, vit.dim).uniform_(-limit, limit, generator=rng(purpose))


def linear_head(vit: Backbone, rng: Streams) -> State:
    """Initial `head.weight` [C, D] and `head.bias` [C], identical for all methods of a run's seed.

    Normally distributed weights and a zero bias, unless the run has another initial head (`--head-init`).
    """
    if vit.initial_head is not None:
        return {name: value.clone() for name, value in vit.initial_head.items()}
    weight = torch.empty(vit.classes, vit.dim).normal_(0, HEAD_STD, generator=rng("head"))
    return {"head.weight": weight, "head.bias": torch.zeros(vit.classes)}


def classify(batch: Batch, feature: Tensor, state: State) -> Tensor:
    """Logits [B, C] of the linear head for features [B, D]."""
    return batch.linear(feature, state["head.weight"], state["head.bias"])


def insert_after_cls(x: Tensor, prompts: Tensor) -> Tensor:
    """Tokens [B, T, D] with prompts [B, p, D] inserted after cls: [B, T + p, D]."""
    return torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)


def replace_after_cls(x: Tensor, prompts: Tensor) -> Tensor:
    """Tokens [B, T, D] with the p tokens after cls replaced by prompts [B, p, D]."""
    return torch.cat([x[:, :1], prompts, x[:, 1 + prompts.shape[1] :]], dim=1)


def cosines(batch: Batch, query: Tensor, keys: Tensor) -> Tensor:
    """Cosines [B, M] between queries [B, D] and the keys [K, M, D] of each row's client."""
    return batch.matmul(functional.normalize(query, dim=-1), functional.normalize(keys, dim=-1).transpose(1, 2))


def select_top(batch: Batch, scores: Tensor, pool: Tensor, count: int) -> Tensor:
    """The `count` entries with the highest scores [B, M] in the pool [K, M, ...] of each row's client: [B, count, ...].

    No gradient flows through the scores. Entries that no sample selects have a gradient of exactly zero.
    """
    chosen = functional.one_hot(scores.topk(count).indices, scores.shape[1]).to(pool.dtype)
    return batch.matmul(chosen, pool.flatten(2)).unflatten(2, pool.shape[2:])
