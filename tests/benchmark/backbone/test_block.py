"""`run_block` against timm's own block, and attention in bf16 against fp32."""

import pytest
import torch
from timm.models.vision_transformer import ParallelScalingBlock
from torch.nn import functional

from fedprompt.benchmark.backbone.block import MAX_FP32_TOKENS, attend, is_plain, run_block
from fedprompt.benchmark.backbone.vit import FrozenViT
from tests import toy
from tests.benchmark.backbone.small_models import images, randomised
from tests.benchmark.backbone.small_models import plain as small
from tests.benchmark.backbone.test_vit import MODELS

PLAIN = [kind for kind, make in MODELS.items() if kind != "parallel blocks"]


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("read", [None, 1, 3])
def test_output_tokens_equal_those_of_timms_block(kind, read):
    model = randomised(MODELS[kind]())
    vit = FrozenViT(kind, model, classes=4)
    x, block = vit.tokens_of(images(vit)), model.blocks[0]
    assert is_plain(block)
    with torch.no_grad():
        torch.testing.assert_close(run_block(block, x, read), block(x)[:, :read], rtol=1e-5, atol=1e-5)


def test_gradients_equal_those_of_timms_block():
    block = randomised(small()).blocks[0]
    x = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(2, 2, 24, generator=torch.Generator().manual_seed(1))
    ours, theirs = (
        torch.autograd.grad((out * weight).sum(), x)[0] for out in (run_block(block, x, read=2), block(x)[:, :2])
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_another_kind_of_block_is_not_plain():
    assert not is_plain(small(block_fn=ParallelScalingBlock).blocks[0])


@pytest.mark.parametrize("tokens", [MAX_FP32_TOKENS + extra for extra in (-1, 0, 1, 128)])
@pytest.mark.parametrize("queries", [1, None])
def test_attention_and_its_gradients_in_bf16_are_close_to_fp32(tokens, queries):
    rng = torch.Generator().manual_seed(tokens)
    q, k, v = (torch.randn(2, 3, tokens, 16, generator=rng).bfloat16() for _ in range(3))
    q = q[:, :, :queries]
    target = torch.randn(q.shape, generator=rng)
    outputs, gradients = [], []
    for dtype in (torch.bfloat16, torch.float32):
        inputs = [part.to(dtype).requires_grad_() for part in (q, k, v)]
        out = attend(*inputs) if dtype == torch.bfloat16 else functional.scaled_dot_product_attention(*inputs)
        assert out.dtype == dtype
        outputs.append(out.float())
        gradients.append([g.float() for g in torch.autograd.grad((out.float() * target).sum(), inputs)])
    torch.testing.assert_close(*outputs, rtol=0.03, atol=0.03)
    for low, high in zip(*gradients, strict=True):
        assert (low - high).norm() < 0.02 * high.norm()


def test_attention_in_fp32_equals_torchs():
    q, k, v = (torch.randn(1, 2, 9, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    assert torch.equal(attend(q, k, v), functional.scaled_dot_product_attention(q, k, v))


def test_a_backbone_in_bf16_is_close_to_fp32_and_returns_fp32():
    exact, rough = toy.fresh_vit(), toy.fresh_vit(precision="bf16")
    x = exact.tokens_of(images(exact))
    assert torch.equal(rough.tokens_of(images(rough)), x)  # the patches are embedded in fp32
    for one, other in (
        (exact.encode(x), rough.encode(x)),
        (exact.outputs(x, 3, first=2), rough.outputs(x, 3, first=2)),
        (exact.layers(x, 1, 3), rough.layers(x, 1, 3)),
    ):
        assert other.dtype == torch.float32
        assert 0 < (one - other).norm() < 0.02 * one.norm()


def test_a_gradient_through_bf16_blocks_is_fp32_and_close():
    gradients, target = [], torch.randn(24, generator=torch.Generator().manual_seed(3))
    for vit in (toy.fresh_vit(), toy.fresh_vit(precision="bf16")):
        x = vit.tokens_of(images(vit)).detach().requires_grad_()
        gradients.append(torch.autograd.grad((vit.encode(x) @ target).sum(), x)[0])
    exact, rough = gradients
    assert rough.dtype == torch.float32
    assert (exact - rough).norm() < 0.05 * exact.norm()
