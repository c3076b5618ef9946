"""Small timm models with random weights, one or more of each supported family."""

import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

SIZES = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 0}


def plain(**changes):
    model = VisionTransformer(**(SIZES | changes))
    model.pretrained_cfg = {}  # as timm.create_model leaves it where nothing was trained
    return model


def eva(**changes):
    model = Eva(**(SIZES | {"global_pool": "token"} | changes))
    model.pretrained_cfg = {}
    return model


def named(name, **changes):
    return lambda: timm.create_model(name, num_classes=0, **({"depth": 2, "embed_dim": 24, "num_heads": 2} | changes))


ROTARY = {"use_rot_pos_emb": True}
EVA02 = ROTARY | {"ref_feat_shape": (2, 2), "swiglu_mlp": True}

REGISTERS = {
    "registers": lambda: plain(reg_tokens=4, no_embed_class=True),
    "registers with positions": lambda: plain(reg_tokens=2),
    "registers and LayerScale": lambda: plain(reg_tokens=4, no_embed_class=True, init_values=1e-5),
    "dinov2 with registers": named("vit_small_patch14_reg4_dinov2", img_size=28),
}
EVA = {
    "EVA without rotary positions": eva,
    "EVA-02": lambda: eva(**EVA02),
    "EVA-02 with separate q, k, v and norms": lambda: eva(
        **EVA02, qkv_fused=False, scale_mlp=True, scale_attn_inner=True
    ),
    "rotary positions in half layout": lambda: eva(**ROTARY, rope_rotate_half=True),
    "rotary positions per layer and head": lambda: eva(**ROTARY, rope_type="mixed", attn_type="rope"),
    "without qkv bias": lambda: eva(**ROTARY, qkv_bias=False),
    "rope attention, q, k and v separate": lambda: eva(**ROTARY, attn_type="rope", qkv_fused=False),
    "qk-norm and a gate": lambda: eva(**ROTARY, qk_norm=True, num_reg_tokens=2, attn_type="rope"),
    "shared keys and values": lambda: eva(**ROTARY, attn_type="rope", qkv_fused=False, num_kv_heads=1),
    "DINOv3": lambda: eva(
        **ROTARY, rope_type="dinov3", rope_rotate_half=True, num_reg_tokens=4, use_abs_pos_emb=False, init_values=1e-5
    ),
    "DINOv3 with SwiGLU": lambda: eva(
        **ROTARY, rope_type="dinov3", num_reg_tokens=4, use_abs_pos_emb=False, swiglu_mlp=True, swiglu_align_to=8
    ),
    "dinov3 of timm": named("vit_small_patch16_dinov3", img_size=48, global_pool="token"),
    "eva02 of timm": named("eva02_base_patch16_clip_224", img_size=48),
    "rope-vit of timm": named("vit_small_patch16_rope_mixed_224", img_size=48),
    "pre-norm, as the Perception Encoder": lambda: eva(**ROTARY, use_pre_transformer_norm=True, attn_type="rope"),
}


def randomised(model):
    """Returns the model with random parameters, so that every part has an effect (LayerScale starts near zero)."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.normal_(0, value[0].numel() ** -0.5, generator=generator)
            else:
                value.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def images(vit, count=3):
    return torch.randn(count, 3, vit.image_size, vit.image_size, generator=torch.Generator().manual_seed(1))
