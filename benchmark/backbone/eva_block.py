"""Forward pass of timm's EVA block with rotary positions, which accepts any number of tokens before the patches."""

from typing import Any

import torch
from timm.layers import AttentionRope, GluMlp, Mlp, SwiGLU
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention, EvaBlock
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.backbone.block import Edit, attend, edited_at


def is_eva(block: Any) -> bool:
    """Returns whether a block is timm's pre-norm EVA block, as `run_eva_block` requires."""
    return (
        type(block) is EvaBlock
        and type(block.attn) in (EvaAttention, AttentionRope)
        and type(block.mlp) in (Mlp, GluMlp, SwiGLU)
    )


def run_eva_block(
    block: Any, x: Tensor, rotation: Tensor | None = None, read: int | None = None, edit: Edit | None = None
) -> Tensor:
    """Applies an EVA block; the arguments and the result are those of `run_block`.

    Args:
        block: A block for which `is_eva` holds.
        x: Tokens [B, T, D].
        rotation: Sines and cosines [N, 2 x width] or [heads, N, 2 x width] of the last N tokens, the patches. The
            tokens before them have no position: cls, prompts and registers.
        read: Number of output tokens; None: all.
        edit: Replaces the output of each operation; queries and keys before their rotation.
    """
    at = edited_at(edit)
    attention, tokens = block.attn, at("norm1", x, block.norm1(x))
    head = tokens[:, :read]
    q, k, v = _qkv(attention, tokens, head)
    if edit is not None:
        q, k, v = at("q", head, q), at("k", tokens, k), at("v", tokens, v)
    q, k, v = (part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for part in (q, k, v))
    q, k = attention.q_norm(q), attention.k_norm(k)
    if rotation is not None:
        first = x.shape[1] - rotation.shape[-2]
        q, k = (_rotated(part, rotation, first, attention.rotate_half) for part in (q, k))
    groups = getattr(attention, "num_kv_groups", 1)  # each key and value serves this many heads
    out = attend(q, _repeated(k, groups), _repeated(v, groups))
    out = attention.norm(out.transpose(1, 2).flatten(2))
    if attention.gate is not None:
        out = out * attention.gate(head).sigmoid()
    x = x[:, :read] + _scaled(at("proj", out, attention.proj(out)), block.gamma_1)
    tokens = at("norm2", x, block.norm2(x))
    out = block.mlp(tokens) if edit is None else _mlp(block.mlp, tokens, at)
    return x + _scaled(at("mlp", tokens, out), block.gamma_2)


def mlp_widths(mlp: Any) -> tuple[int, int]:
    """Returns the widths of fc1's output and of fc2's input. A gated MLP's fc1 gives the gate, then the values."""
    fc1 = 2 * mlp.fc1_g.out_features if type(mlp) is SwiGLU else mlp.fc1.out_features
    return fc1, mlp.fc2.in_features


def _qkv(attention: Any, tokens: Tensor, head: Tensor) -> tuple[Tensor, ...]:
    """Queries of `head`, keys and values of `tokens`, [B, T, heads x width] each."""
    inputs = (head, tokens, tokens)
    if attention.qkv is None:
        layers = attention.q_proj, attention.k_proj, attention.v_proj
        return tuple(layer(x) for layer, x in zip(layers, inputs, strict=True))
    weight, bias = attention.qkv.weight, attention.qkv.bias
    if getattr(attention, "q_bias", None) is not None:
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    if head.shape == tokens.shape:
        return functional.linear(tokens, weight, bias).chunk(3, dim=-1)
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(functional.linear(x, w, b) for x, w, b in zip(inputs, weight.chunk(3), biases, strict=True))


def _rotated(x: Tensor, rotation: Tensor, first: int, half: bool) -> Tensor:
    """Rotates the tokens [B, heads, T, width] from number `first` on."""
    if x.shape[2] <= first:
        return x
    patches = apply_rot_embed_cat(x[:, :, first:], rotation[..., : x.shape[2] - first, :], half=half)
    return torch.cat([x[:, :, :first], patches], dim=2)


def _repeated(x: Tensor, groups: int) -> Tensor:
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x


def _mlp(mlp: Any, tokens: Tensor, at: Edit) -> Tensor:
    layers = [mlp.fc1_g, mlp.fc1_x] if type(mlp) is SwiGLU else [mlp.fc1]
    hidden = at("fc1", tokens, torch.cat([layer(tokens) for layer in layers], dim=-1))
    if type(mlp) is Mlp:
        hidden = mlp.act(hidden)
    else:
        first, second = hidden.chunk(2, dim=-1)
        hidden = first * mlp.act(second) if getattr(mlp, "gate_last", False) else mlp.act(first) * second
    hidden = mlp.norm(hidden)
    return at("fc2", hidden, mlp.fc2(hidden))
