"""One block of a plain timm ViT, computed for the tokens that are read and with the attention that is fastest here."""

from collections.abc import Callable
from functools import partial

import torch
from timm.layers import Attention, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

Edit = Callable[[str, Tensor, Tensor], Tensor]
"""A point, what enters there and what comes out, to what comes out instead."""

SHORT = 64
"""Tokens up to which attention in bf16 on a CPU is computed in fp32: the processor's bf16 kernels are made for more."""


def is_plain(block: nn.Module) -> bool:
    """Whether a block is timm's pre-norm block with its standard attention, which `through` can take apart."""
    return type(block) is Block and type(block.attn) is Attention and type(block.mlp) is Mlp


def through(block: Block, x: Tensor, read: int | None = None, edit: Edit | None = None) -> Tensor:
    """Tokens [B, T, D] after a plain block; with `read`, only the first so many of them, [B, read, D].

    Those attend to all of x. What no later computation reads (their queries, their MLP) is not computed. `edit` may
    change what comes out at each of `fedprompt.methods.base.POINTS`, in fp32.
    """
    at = partial(_edited, edit) if edit is not None else _plain
    attention, tokens = block.attn, at("norm1", x, block.norm1(x))
    head = tokens[:, :read]
    q, k, v = _together(attention, tokens, head)
    if edit is not None:
        q, k, v = (at(p, source, part) for p, source, part in (("q", head, q), ("k", tokens, k), ("v", tokens, v)))
    out = _attended(attention, *(_heads(part, attention.num_heads) for part in (q, k, v)))
    if attention.gate is not None:
        out = out * attention.gate(head).sigmoid()
    first = x[:, :read] + block.ls1(at("proj", out, attention.proj(out)))
    tokens = at("norm2", first, block.norm2(first))
    return first + block.ls2(at("mlp", tokens, block.mlp(tokens) if edit is None else _mlp(block.mlp, tokens, at)))


def _plain(point: str, x: Tensor, out: Tensor) -> Tensor:
    return out


def _edited(edit: Edit, point: str, x: Tensor, out: Tensor) -> Tensor:
    return edit(point, x.float(), out.float()).to(out.dtype)


def _mlp(mlp: Mlp, tokens: Tensor, at: Callable[[str, Tensor, Tensor], Tensor]) -> Tensor:
    hidden = mlp.norm(mlp.act(at("fc1", tokens, mlp.fc1(tokens))))
    return at("fc2", hidden, mlp.fc2(hidden))


def _together(attention: Attention, tokens: Tensor, head: Tensor) -> tuple[Tensor, ...]:
    """Queries of `head`, keys and values of `tokens`, [B, T, heads x width] each, in as few products as it takes."""
    weight, bias, width = attention.qkv.weight, attention.qkv.bias, attention.attn_dim
    if head.shape == tokens.shape:
        return functional.linear(tokens, weight, bias).chunk(3, dim=-1)
    parts = (None, None) if bias is None else (bias[:width], bias[width:])
    q = functional.linear(head, weight[:width], parts[0])
    return (q, *functional.linear(tokens, weight[width:], parts[1]).chunk(2, dim=-1))


def _attended(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = attend(attention.q_norm(q), attention.k_norm(k), v)
    return attention.norm(out.transpose(1, 2).flatten(2))


def _heads(values: Tensor, heads: int) -> Tensor:
    """[B, T, heads x width] to [B, heads, T, width]."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention [B, heads, T, width].

    In bf16 on a CPU torch's own kernel is several times slower backwards than either way taken here (`bench perf`).
    """
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v)
    if k.shape[2] <= SHORT:
        return functional.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return scores.softmax(-1) @ v
