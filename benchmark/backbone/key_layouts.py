"""Names of the tensors in published weight files, translated to those that timm's own filters read.

Supported are timm's names, the original files of DINO, DINOv2 and DINOv3, and those of `transformers`: ViT, DeiT,
DINOv2 with and without registers, DINOv3. A filter of timm translates the rest and resamples positions and patches.
"""

import re

import torch
from torch import Tensor

WRAPPED = re.compile(
    r"((?:module|backbone|model|timm_model|vit|deit|dinov2|dinov2_with_registers|dinov3_vit)\.)+"
    r"(?=(?:embeddings\.)?cls_token$)"
)
"""The cls token of a backbone that is part of another model, as a classifier or DINO's teacher."""
NO_BACKBONE = re.compile(r"(head|head_dist|dino_head|ibot_head|pooler|classifier|rope_embeddings)\.")
RENAMED = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
        (r"^embeddings\.", ""),
        (r"^(encoder\.)?layer\.", "blocks."),
        (r"^layernorm\.", "norm."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"\.attention\.attention\.query\.", ".attn.q."),
        (r"\.attention\.attention\.key\.", ".attn.k."),
        (r"\.attention\.attention\.value\.", ".attn.v."),
        (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
        (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"\.output\.dense\.", ".mlp.fc2."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
        (r"\.mlp\.weights_in\.", ".mlp.w12."),
        (r"\.mlp\.weights_out\.", ".mlp.w3."),
    )
]
"""Names of `transformers` and what the original files of the same models have."""


def original_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of the backbone, without heads, under names that timm's filters read."""
    state = _unwrapped(state)
    if "embeddings.cls_token" in state:
        state = _from_transformers(state)
    state = {name: value for name, value in state.items() if not NO_BACKBONE.match(name)}
    if "register_tokens" in state:  # timm recognises DINOv2 by its mask token, which some files do not have
        state.setdefault("mask_token", torch.zeros(1))
    return state


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Removes what stands before all names of the backbone, and the tensors without it: those of other parts."""
    for name in state:
        if match := WRAPPED.match(name):
            return {k.removeprefix(match[0]): v for k, v in state.items() if k.startswith(match[0])}
    return state


def _from_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in RENAMED:
            name = pattern.sub(replacement, name)
        renamed[name] = value
    if "pos_embed" not in renamed:
        renamed = _as_dinov3(renamed)
    return _with_joint_qkv(renamed)


def _as_dinov3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of the original DINOv3 for the registers and MLPs, which are gated in some models."""
    gated = any(".mlp.gate_proj." in name for name in state)
    names = {"gate_proj": "w1", "up_proj": "w2" if gated else "fc1", "down_proj": "w3" if gated else "fc2"}

    def original(name: str) -> str:
        name = re.sub(r"(?<=\.mlp\.)(gate|up|down)_proj", lambda match: names[match[0]], name)
        return "storage_tokens" if name == "register_tokens" else name

    return {original(name): value for name, value in state.items()}


def _with_joint_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Joins queries, keys and values to one tensor; keys without a bias have one of zeros."""
    joint = {name: value for name, value in state.items() if not re.search(r"\.attn\.[qkv]\.", name)}
    for name, q in state.items():
        if ".attn.q." in name:
            k, v = (state.get(name.replace(".attn.q.", f".attn.{part}.")) for part in "kv")
            parts = [q, torch.zeros_like(q) if k is None else k, torch.zeros_like(q) if v is None else v]
            joint[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
    return joint
