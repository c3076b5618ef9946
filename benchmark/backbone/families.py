"""The families of timm models that methods can extend with prompts, and what differs between them.

A supported model has a cls token, then its register tokens if any, then one token per patch: timm's `VisionTransformer`
(ViT, DeiT, CLIP, DINOv2) and `Eva` (EVA, EVA-02, DINOv3, RoPE-ViT).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from timm.models import eva, vision_transformer
from timm.models.eva import Eva, EvaBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fedprompt.benchmark.backbone.block import is_plain
from fedprompt.benchmark.backbone.eva_block import is_eva, mlp_widths
from fedprompt.benchmark.errors import ConfigError

Model = Any
"""A model of timm. Torch types the attributes of modules too broadly for their use here."""
MODULES = ("vision_transformer", "deit", "eva")
"""The modules of timm that define the supported models."""
FILTERS: dict[type, Callable[..., dict[str, Tensor]]] = {
    VisionTransformer: partial(vision_transformer.checkpoint_filter_fn, adapt_layer_scale=True),  # names of DeiT-3
    Eva: eva.checkpoint_filter_fn,
}
"""timm's functions that map the tensors of published files to its own names and sizes, by class of model."""

INITIALIZERS = (
    "uniform_",
    "kaiming_uniform_",
    "normal_",
    "erfinv_",
    "clamp_",
    "fill_",
    "zero_",
    "mul_",
    "add_",
    "div_",
)


class _WithoutInitialization(TorchFunctionMode):
    """Skips the drawing of initial weights, which takes most of the time in building a model without memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in INITIALIZERS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def architecture(name: str) -> Model:
    """Returns a timm model without a head and without memory for its weights (on torch's `meta` device)."""
    with torch.device("meta"), _WithoutInitialization():
        return timm.create_model(name, num_classes=0)


def require_supported(name: str, model: Model) -> None:
    """Raises `ConfigError` unless methods can insert prompts after the model's cls token and read this token."""
    reason = _refusal(model)
    if reason:
        raise ConfigError(
            f"--backbone {name}: {reason}; use a ViT with a cls token, as vit_base_patch16_224, "
            "or another of `bench list backbones`."
        )


def _refusal(model: Model) -> str | None:
    if type(model) not in FILTERS:
        return f"it is a {type(model).__name__}"
    if model.cls_token is None:
        return "it has no cls token"
    pooled = ("token", "avg") if type(model) is Eva else ("token",)
    if model.attn_pool is not None or model.global_pool not in pooled:
        return f"its head reads {model.global_pool!r} pooling instead of the cls token"
    if type(model) is Eva and model.rope is not None and not all(type(block) is EvaBlock for block in model.blocks):
        return f"its {type(model.blocks[0]).__name__} blocks have rotary positions"
    return None


def require_plain_vit(name: str, model: Model, purpose: str) -> None:
    """Raises `ConfigError` unless timm's own blocks accept prompts: those with rotary positions do not."""
    if type(model) is not VisionTransformer:
        raise ConfigError(f"--backbone {name}: {purpose} needs a plain ViT, as vit_base_patch16_224.")


def family(model: Model) -> str:
    """Returns what the model is, as in "EVA, rotary positions, 4 registers"."""
    parts = ["EVA" if type(model) is Eva else "ViT"]
    if getattr(model, "rope", None) is not None:
        parts.append("rotary positions")
    registers = model.num_prefix_tokens - 1
    if registers > 0:
        parts.append(f"{registers} register{'s' if registers > 1 else ''}")
    return ", ".join(parts)


def averages_patches(model: Model) -> bool:
    """Returns whether the weights were trained to read the mean of the patches, as EVA-02's were.

    DINOv3 is not among them: its own code reads the cls token after a norm of all tokens, and timm averages by default.
    """
    return model.global_pool == "avg" and isinstance(model.norm, nn.Identity)


def embed(model: Model, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Maps normalised images [B, 3, S, S] to the tokens [B, T, D] entering layer 1 and the rotation of the patches.

    The rotation holds sines and cosines, [patches, 2 x width of a head], or [depth, heads, patches, 2 x width] where it
    differs between layers. None: the positions are not rotary.
    """
    patches = model.patch_embed(images)
    if type(model) is Eva:
        x, rotation = model._pos_embed(patches)
    else:
        x, rotation = model.patch_drop(model._pos_embed(patches)), None
    return model.norm_pre(x), rotation


@torch.no_grad()
def rotations(model: Model) -> list[Tensor | None]:
    """Returns the rotation of the patches in each layer; None where positions are not rotary."""
    depth = len(model.blocks)
    if getattr(model, "rope", None) is None:
        return [None] * depth
    device = next(model.parameters()).device
    _, rotation = embed(model, torch.zeros(1, 3, *model.patch_embed.img_size, device=device))
    if rotation is not None and model.rope_mixed:
        return list(rotation)
    return [rotation] * depth


def final_norms(model: Model) -> tuple[nn.Module, nn.Module]:
    """Returns the norm after the last layer and what follows it.

    timm places the final norm after the pooling where patches are averaged; methods read tokens, so it comes first.
    """
    if isinstance(model.norm, nn.Identity):
        return model.fc_norm, model.norm
    return model.norm, model.fc_norm


def editable_widths(model: Model) -> tuple[int, int]:
    """Returns the widths of fc1's output and of fc2's input; (0, 0) where methods cannot edit the blocks.

    Methods expect queries, keys and values as wide as the tokens, so narrow or shared heads cannot be edited.
    """
    if not all(is_plain(block) or is_eva(block) for block in model.blocks):
        return 0, 0
    attention = model.blocks[0].attn
    if attention.proj.in_features != model.embed_dim or getattr(attention, "num_kv_groups", 1) > 1:
        return 0, 0
    return mlp_widths(model.blocks[0].mlp)
