"""Backbones with register tokens and EVA-style backbones against timm's own forward pass; refused architectures."""

import pytest
import timm
import torch
from torch import nn

from fedprompt.benchmark.backbone.families import (
    architecture,
    averages_patches,
    family,
    require_plain_vit,
    require_supported,
)
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.errors import ConfigError
from tests.benchmark.backbone.small_models import EVA, EVA02, REGISTERS, ROTARY, eva, images, named, plain, randomised

MODELS = REGISTERS | EVA


def frozen(kind):
    return FrozenViT(kind, randomised(MODELS[kind]()), classes=4)


def with_prompts(vit, x, count):
    prompts = torch.randn(len(x), count, vit.dim, generator=torch.Generator().manual_seed(2))
    return torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)


@pytest.mark.parametrize("kind", MODELS)
def test_without_prompts_the_feature_equals_timms(kind):
    vit = frozen(kind)
    require_supported(kind, vit.model)
    x = images(vit)
    with torch.no_grad():
        torch.testing.assert_close(vit.encode(vit.tokens_of(x)), vit.model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_prompts_are_tokens_without_a_position_that_patches_attend_to(kind):
    """timm's own blocks, told that the prompts belong to the tokens before the patches."""
    vit = frozen(kind)
    x = with_prompts(vit, vit.tokens_of(images(vit)), 5)
    expected, rope = x, getattr(vit.model, "rope", None)
    if rope is not None:
        rope = vit.model._pos_embed(vit.model.patch_embed(images(vit)))[1]
    for layer, block in enumerate(vit.model.blocks):
        if rope is None:
            expected = block(expected)
        else:
            block.attn.num_prefix_tokens = vit.model.num_prefix_tokens + 5
            expected = block(expected, rope=rope[layer] if vit.model.rope_mixed else rope)
    torch.testing.assert_close(vit.layers(x), expected, rtol=1e-5, atol=1e-5)
    for read in (1, 6, x.shape[1] - 2):
        out = vit.model.norm(expected)[:, :read]
        torch.testing.assert_close(vit.outputs(x, read), out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["registers", "EVA-02", "rotary positions per layer and head", "DINOv3"])
def test_splitting_the_layers_changes_nothing(kind):
    vit = frozen(kind)
    x = with_prompts(vit, vit.tokens_of(images(vit)), 2)
    whole = vit.encode(x)
    for first in range(1, vit.depth + 1):
        assert torch.equal(vit.encode(vit.layers(x, 1, first - 1), first), whole)


@pytest.mark.parametrize("kind", ["registers", "EVA-02", "DINOv3 with SwiGLU", "rope attention, q, k and v separate"])
def test_an_edit_that_returns_the_output_changes_nothing(kind):
    vit, seen = frozen(kind), set()

    def edit(point, layer, x, out):
        seen.add(point)
        if point == "fc1":
            assert (x.shape[2], out.shape[2]) == (vit.dim, vit.fc1_width)
        if point == "fc2":
            assert (x.shape[2], out.shape[2]) == (vit.hidden, vit.dim)
        return out

    x = vit.tokens_of(images(vit))
    torch.testing.assert_close(vit.encode(x, edit=edit), vit.encode(x), rtol=1e-6, atol=1e-6)
    assert seen == {"norm1", "q", "k", "v", "proj", "norm2", "fc1", "fc2", "mlp", "norm"}


def test_an_edit_of_the_keys_acts_before_their_rotation():
    vit = frozen("EVA-02")
    x = vit.tokens_of(images(vit))
    offset = torch.linspace(-1, 1, vit.dim)
    edited = vit.encode(x, edit=lambda point, layer, _, out: out + offset if point == "k" else out)
    with torch.no_grad():
        for block in vit.model.blocks:
            block.attn.k_bias += offset  # timm adds it before the rotation, too
    torch.testing.assert_close(edited, vit.model.norm(vit.layers(x))[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "registers"), [("registers", 4), ("DINOv3", 4), ("EVA-02", 0)])
def test_registers_are_counted_as_tokens(kind, registers):
    vit = frozen(kind)
    assert (vit.registers, vit.tokens) == (registers, 1 + registers + 4)
    assert vit.tokens_of(images(vit)).shape == (3, vit.tokens, vit.dim)


def test_gated_mlps_have_twice_their_width_after_fc1():
    assert (frozen("EVA-02").fc1_width, frozen("EVA-02").hidden) == (2 * 96, 96)
    assert (frozen("registers").fc1_width, frozen("registers").hidden) == (96, 96)
    assert frozen("shared keys and values").hidden == 0


def test_bf16_blocks_with_rotary_positions_are_close_to_fp32():
    exact, rough = (FrozenViT("EVA-02", randomised(eva(**EVA02)), 4, precision) for precision in ("fp32", "bf16"))
    x = exact.tokens_of(images(exact))
    assert rough.encode(x).dtype == torch.float32
    assert 0 < (exact.encode(x) - rough.encode(x)).norm() < 0.03 * exact.encode(x).norm()


def test_a_model_that_averages_patches_is_read_at_cls_after_its_final_norm():
    model = randomised(eva(**EVA02, global_pool="avg"))
    require_supported("eva02", model)
    vit = FrozenViT("eva02", model, classes=4)
    x = images(vit)
    expected = model.fc_norm(model.forward_features(x)[:, 0])
    torch.testing.assert_close(vit.encode(vit.tokens_of(x)), expected, rtol=1e-5, atol=1e-5)
    assert averages_patches(model)


def test_dinov3_is_read_at_cls_although_timm_averages():
    model = randomised(named("vit_small_patch16_dinov3", img_size=48)())
    assert model.global_pool == "avg"
    require_supported("dinov3", model)
    assert not averages_patches(model)
    vit = FrozenViT("dinov3", model, classes=4)
    x = images(vit)
    expected = model.forward_features(x)[:, 0]
    torch.testing.assert_close(vit.encode(vit.tokens_of(x)), expected, rtol=1e-5, atol=1e-5)


def test_an_edit_of_the_final_norm_comes_after_it_where_patches_are_averaged():
    vit = FrozenViT("eva02", randomised(eva(**EVA02, global_pool="avg")), classes=4)
    x = vit.tokens_of(images(vit))
    shifted = vit.encode(x, edit=lambda point, layer, _, out: out + 1 if point == "norm" else out)
    torch.testing.assert_close(shifted, vit.encode(x) + 1, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("swin_tiny_patch4_window7_224", "SwinTransformer"),
        ("deit_tiny_distilled_patch16_224", "Distilled"),
        ("vit_base_patch16_siglip_224", "no cls token"),
        ("vit_base_patch16_reg4_gap_256", "no cls token"),
        ("beit_base_patch16_224", "Beit"),
        ("vit_medium_patch16_rope_reg1_gap_256", "no cls token"),
        ("vit_pe_core_tiny_patch16_384", "'map' pooling"),
    ],
)
def test_an_unsuitable_architecture_is_refused_with_the_reason(name, reason):
    with pytest.raises(ConfigError) as raised:
        require_supported(name, architecture(name))
    assert name in str(raised.value)
    assert reason in str(raised.value)
    assert "vit_base_patch16_224" in str(raised.value)  # the suggested alternative


def test_a_plain_head_that_reads_another_token_is_refused():
    with pytest.raises(ConfigError, match="'avg' pooling"):
        require_supported("gap", plain(global_pool="avg"))
    with pytest.raises(ConfigError, match="'map' pooling"):
        require_supported("map", plain(global_pool="map"))


def test_post_norm_blocks_are_refused_only_with_rotary_positions():
    require_supported("post", eva(use_post_norm=True))
    vit = FrozenViT("post", randomised(eva(use_post_norm=True)), classes=4)
    x = images(vit)
    torch.testing.assert_close(vit.encode(vit.tokens_of(x)), vit.model(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match="EvaBlockPostNorm blocks have rotary positions"):
        require_supported("post", eva(use_post_norm=True, **ROTARY))


def test_a_comparison_with_timms_blocks_refuses_rotary_positions():
    require_plain_vit("vit", plain(reg_tokens=4), "bench perf")
    with pytest.raises(ConfigError, match="--backbone eva02: bench perf needs a plain ViT"):
        require_plain_vit("eva02", eva(**EVA02), "bench perf")


def test_the_family_states_registers_and_rotary_positions():
    assert [family(model) for model in (plain(), plain(reg_tokens=1), plain(reg_tokens=4), eva(), eva(**EVA02))] == [
        "ViT",
        "ViT, 1 register",
        "ViT, 4 registers",
        "EVA",
        "EVA, rotary positions",
    ]
    assert family(MODELS["DINOv3"]()) == "EVA, rotary positions, 4 registers"


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_an_architecture_has_the_shapes_of_the_model(name):
    shapes = {key: value.shape for key, value in timm.create_model(name, num_classes=0).state_dict().items()}
    model = architecture(name)
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes
    assert all(value.is_meta for value in model.parameters())
    assert isinstance(model, nn.Module)
