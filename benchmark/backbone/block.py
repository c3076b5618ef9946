"""Forward pass of one timm ViT block that skips unused tokens and selects the fastest attention kernel."""

from collections.abc import Callable
from functools import partial

import torch
from timm.layers import Attention, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

Edit = Callable[[str, Tensor, Tensor], Tensor]
"""Maps (point, input, output) of an operation to a new output. Points: `fedprompt.methods.base.POINTS`."""

MAX_FP32_TOKENS = 64
"""On a CPU, bf16 attention over at most this many tokens runs in fp32: the bf16 kernels only pay off for more."""


def is_plain(block: nn.Module) -> bool:
    """Returns whether a block is timm's pre-norm block with standard attention, as `run_block` requires."""
    return type(block) is Block and type(block.attn) is Attention and type(block.mlp) is Mlp


def run_block(block: Block, x: Tensor, read: int | None = None, edit: Edit | None = None) -> Tensor:
    """Applies a plain block.

    Args:
        block: A block for which `is_plain` holds.
        x: Tokens [B, T, D].
        read: Compute only the first `read` output tokens. They attend to all of `x`, but the queries and the MLP of
            the other tokens are skipped. None: all.
        edit: Replaces the output of each operation. Receives and returns fp32.

    Returns:
        Tokens [B, T, D], or [B, read, D].
    """
    at = edited_at(edit)
    attention, tokens = block.attn, at("norm1", x, block.norm1(x))
    head = tokens[:, :read]
    q, k, v = _qkv(attention, tokens, head)
    if edit is not None:
        q, k, v = (at(p, source, part) for p, source, part in (("q", head, q), ("k", tokens, k), ("v", tokens, v)))
    q, k, v = (part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
    out = attend(attention.q_norm(q), attention.k_norm(k), v)
    out = attention.norm(out.transpose(1, 2).flatten(2))
    if attention.gate is not None:
        out = out * attention.gate(head).sigmoid()
    first = x[:, :read] + block.ls1(at("proj", out, attention.proj(out)))
    tokens = at("norm2", first, block.norm2(first))
    return first + block.ls2(at("mlp", tokens, block.mlp(tokens) if edit is None else _mlp(block.mlp, tokens, at)))


def edited_at(edit: Edit | None) -> Edit:
    """Returns the function that a block applies at each point: the edit in fp32, or nothing."""
    return partial(_edited, edit) if edit is not None else _unedited


def _unedited(point: str, x: Tensor, out: Tensor) -> Tensor:
    return out


def _edited(edit: Edit, point: str, x: Tensor, out: Tensor) -> Tensor:
    return edit(point, x.float(), out.float()).to(out.dtype)


def _mlp(mlp: Mlp, tokens: Tensor, at: Edit) -> Tensor:
    hidden = mlp.norm(mlp.act(at("fc1", tokens, mlp.fc1(tokens))))
    return at("fc2", hidden, mlp.fc2(hidden))


def _qkv(attention: Attention, tokens: Tensor, head: Tensor) -> tuple[Tensor, ...]:
    """Queries of `head`, keys and values of `tokens`, [B, T, heads x width] each, in as few products as possible."""
    weight, bias, width = attention.qkv.weight, attention.qkv.bias, attention.attn_dim
    if head.shape == tokens.shape:
        return functional.linear(tokens, weight, bias).chunk(3, dim=-1)
    q_bias, kv_bias = (None, None) if bias is None else (bias[:width], bias[width:])
    q = functional.linear(head, weight[:width], q_bias)
    return (q, *functional.linear(tokens, weight[width:], kv_bias).chunk(2, dim=-1))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of q, k and v, [B, heads, T, width] each.

    In bf16 on a CPU, the backward pass of torch's own kernel is several times slower than the two alternatives used
    here (measured by `bench perf`).
    """
    if q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v)
    if k.shape[2] <= MAX_FP32_TOKENS:
        return functional.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return scores.softmax(-1) @ v
