"""`FrozenViT` against timm's own forward pass."""

import pytest
import timm
import torch
from timm.layers import Attention
from timm.models.vision_transformer import ParallelScalingBlock

from fedprompt.benchmark.backbone import embedded
from fedprompt.benchmark.backbone.families import require_supported
from fedprompt.benchmark.backbone.vit import FrozenViT
from tests import toy
from tests.benchmark.backbone.small_models import images, randomised
from tests.benchmark.backbone.small_models import plain as small


def other_attention(**changes):
    model = small()
    for block in model.blocks:
        block.attn = Attention(24, num_heads=2, qkv_bias=True, **changes)
    return model


MODELS = {
    "plain": small,
    "without qkv bias": lambda: small(qkv_bias=False),
    "pre-norm, as CLIP": lambda: small(pre_norm=True, norm_layer=torch.nn.LayerNorm),
    "qk-norm": lambda: small(qk_norm=True),
    "norms inside attention and mlp": lambda: small(scale_attn_norm=True, scale_mlp_norm=True),
    "LayerScale": lambda: small(init_values=1e-5),
    "a norm after pooling": lambda: small(fc_norm=True, global_pool="token"),
    "no position for cls": lambda: small(no_embed_class=True),
    "dynamic image size": lambda: small(dynamic_img_size=True),
    "gated attention": lambda: other_attention(gated=True),
    "narrow attention heads": lambda: other_attention(attn_head_dim=6),
    "parallel blocks": lambda: small(block_fn=ParallelScalingBlock),
    "dropout and drop path": lambda: small(proj_drop_rate=0.5, attn_drop_rate=0.5, drop_path_rate=0.5, drop_rate=0.5),
    "embedded": lambda: embedded.build(32),
    "vit_tiny": lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32),
    "deit3_small": lambda: timm.create_model("deit3_small_patch16_224", num_classes=0, img_size=32, depth=2),
    "dinov2": lambda: timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=28, depth=2),
    "clip_base": lambda: timm.create_model("vit_base_patch16_clip_224", num_classes=0, img_size=32, depth=2),
}


@pytest.mark.parametrize("kind", MODELS)
def test_without_prompts_the_feature_equals_timms(kind):
    model = randomised(MODELS[kind]())
    require_supported(kind, model)
    vit = FrozenViT(kind, model, classes=4)
    x = images(vit)
    with torch.no_grad():
        torch.testing.assert_close(vit.encode(vit.tokens_of(x)), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "parallel blocks"])
def test_splitting_the_layers_changes_nothing(kind):
    vit = FrozenViT(kind, randomised(MODELS[kind]()), classes=4)
    x = vit.tokens_of(images(vit))
    whole = vit.encode(x)
    for first in range(1, vit.depth + 1):
        assert torch.equal(vit.encode(vit.layers(x, 1, first - 1), first), whole)


def test_layers_are_counted_from_one_and_both_bounds_are_inclusive():
    vit = FrozenViT("plain", randomised(small()), classes=4)
    x = vit.tokens_of(images(vit))
    second = vit.model.blocks[1](x)
    assert torch.equal(vit.layers(x, 2, 2), second)
    assert torch.equal(vit.layers(x, 2), vit.model.blocks[2](second))
    assert torch.equal(vit.layers(x, 3, 2), x)


def test_prompt_tokens_take_part_in_every_layer():
    vit = toy.vit()
    x = vit.tokens_of(images(vit))
    prompts = torch.randn(3, 2, vit.dim, generator=torch.Generator().manual_seed(2))
    prompted = torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)
    expected = prompted
    for block in vit.model.blocks:
        expected = block(expected)
    torch.testing.assert_close(vit.encode(prompted), vit.model.norm(expected)[:, 0], rtol=1e-5, atol=1e-5)


def test_only_the_input_receives_a_gradient():
    vit = toy.fresh_vit()
    x = vit.tokens_of(images(vit)).requires_grad_()
    (vit.encode(x) @ torch.arange(24.0)).sum().backward()  # a plain sum after the norm has gradient zero
    assert bool((x.grad.abs().sum((0, 2)) > 0).all())
    assert all(weight.grad is None for weight in vit.model.parameters())


def test_sizes_and_normalisation_are_those_of_the_model():
    model = timm.create_model("deit3_small_patch16_224", num_classes=0, img_size=48, depth=2)
    vit = FrozenViT("deit3", model, classes=7)
    assert (vit.dim, vit.depth, vit.patch_size, vit.image_size, vit.tokens) == (384, 2, 16, 48, 10)
    assert vit.classes == 7
    assert (vit.mean, vit.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of ImageNet
