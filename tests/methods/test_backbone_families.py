"""Methods on backbones with register tokens, rotary positions, separate q, k and v, and SwiGLU."""

from copy import deepcopy

import pytest
import torch
from timm.layers import SwiGLU
from torch.nn import functional

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.methods import MethodError, registry
from tests import toy
from tests.benchmark.backbone.small_models import eva, plain, randomised

registry.discover()
EVA = {"use_rot_pos_emb": True, "num_reg_tokens": 2, "swiglu_mlp": True, "depth": 4}
BACKBONES = {
    "registers": lambda: plain(reg_tokens=2, no_embed_class=True, depth=4),
    "separate q, k and v; gate and values separate": lambda: eva(**EVA, qkv_fused=False, swiglu_align_to=8),
    "joint q, k and v; gate and values joint": lambda: eva(**EVA),
}
EDITING = (
    "fedadapter",
    "fedbias",
    "fedlora",
    "ffa-lora",
    "fedsa-lora",
    "flexlora",
    "fedex-lora",
    "lora-fair",
    "fedalt",
)


@pytest.fixture(params=BACKBONES)
def vit(request, monkeypatch):
    """Replaces the toy backbone and the samples that read it."""
    vit = FrozenViT(request.param, randomised(BACKBONES[request.param]()), toy.CLASSES)
    data = toy.dataset()
    for name, part in (
        ("vit", vit),
        ("train_samples", Samples(data.train_x, data.train_y, vit)),
        ("test_samples", Samples(data.test_x, data.test_y, vit)),
    ):
        monkeypatch.setattr(toy, name, lambda part=part: part)
    return vit


def logits(vit, name, change=lambda name, value: value, **fields):
    """The method, the rows, the clients' state and their logits [K, 10, C]."""
    simulator = toy.simulator(name, of=toy.unequal(), settings={name: fields})
    tasks = simulator.make_tasks([0, 1, 2], 1)
    batch, state = toy.batch_of(simulator.context.method, tasks, width=10)
    state = {name: change(name, value) for name, value in state.items()}
    found = simulator.context.method.logits(vit, batch, state).view(3, 10, -1)
    return [torch.as_tensor(task.rows[:10]) for task in tasks], state, found


def random(name, value):
    generator = torch.Generator().manual_seed(len(name))
    changed = name.startswith(("lora.", "bias.", "prompt"))
    return torch.randn(value.shape, generator=generator) * 0.3 if changed else value


def test_prompts_stand_between_cls_and_the_registers(vit):
    """By timm's own blocks, which are told that the prompts belong to the tokens before the patches."""
    rows, state, found = logits(vit, "fedvpt", random)
    model = vit.model
    for k, rows_k in enumerate(rows):
        pixels = toy.train_samples().pixels(rows_k)
        x = vit.tokens_of(pixels)
        torch.testing.assert_close(x[:, 1:3], x[:1, 1:3].expand(10, -1, -1))  # registers: the same in every image
        prompts = state["prompt"][k].expand(10, -1, -1)
        x = torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)
        for block in model.blocks:
            if hasattr(model, "rope"):
                block.attn.num_prefix_tokens = 3 + prompts.shape[1]
                x = block(x, rope=model.rope.get_embed())
            else:
                x = block(x)
        expected = functional.linear(model.norm(x)[:, 0], state["head.weight"][k], state["head.bias"][k])
        torch.testing.assert_close(found[k], expected, atol=1e-4, rtol=1e-4)


def merged(model, state, k, targets):
    """A copy of the model with W + 2 B A in place of W."""
    model = deepcopy(model)
    for layer, block in enumerate(model.blocks):
        for target in targets:
            update = 2 * state[f"lora.B.{target}"][k, layer] @ state[f"lora.A.{target}"][k, layer]
            if target in ("q", "k", "v") and block.attn.qkv is None:
                getattr(block.attn, f"{target}_proj").weight.data += update
            elif target in ("q", "k", "v"):
                block.attn.qkv.weight.data.view(3, 24, 24)[("q", "k", "v").index(target)] += update
            elif target == "proj":
                block.attn.proj.weight.data += update
            elif target == "fc1" and isinstance(block.mlp, SwiGLU):
                block.mlp.fc1_g.weight.data += update[: len(update) // 2]
                block.mlp.fc1_x.weight.data += update[len(update) // 2 :]
            else:
                getattr(block.mlp, target).weight.data += update
    return model


def test_lora_reaches_every_linear_layer(vit):
    targets = ("q", "k", "v", "proj", "fc1", "fc2")
    rows, state, found = logits(vit, "fedlora", random, targets=",".join(targets))
    for k, rows_k in enumerate(rows):
        feature = merged(vit.model, state, k, targets).forward_features(toy.train_samples().pixels(rows_k))[:, 0]
        expected = functional.linear(feature, state["head.weight"][k], state["head.bias"][k])
        torch.testing.assert_close(found[k], expected, atol=1e-4, rtol=1e-4)


def test_the_bias_of_the_patch_embedding_does_not_reach_registers(vit):
    def only_patches(name, value):
        return torch.ones_like(value) if name == "bias.patch" else value

    rows, state, found = logits(vit, "fedbias", only_patches)
    model = deepcopy(vit.model)
    model.patch_embed.proj.bias.data += 1
    for k, rows_k in enumerate(rows):
        feature = model.forward_features(toy.train_samples().pixels(rows_k))[:, 0]
        expected = functional.linear(feature, state["head.weight"][k], state["head.bias"][k])
        torch.testing.assert_close(found[k], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(registry.METHODS))
def test_every_method_computes_logits(name, vit):
    _, _, found = logits(vit, name)
    assert found.shape == (3, 10, toy.CLASSES)
    assert not found.isnan().any()  # minus infinity for a class that a client does not know


@pytest.mark.parametrize("name", ["fedvpt-deep", "fedbias"])
def test_fused_clients_end_as_clients_alone(name, vit):
    simulator = toy.simulator(name, of=toy.unequal())
    alone, fused = (toy.learned(simulator, [0, 1, 2], 1, kind) for kind in ("sequential", "fused"))
    before = simulator.make_tasks([0], 1)[0].state.shared
    for one, other in zip(alone, fused, strict=True):
        torch.testing.assert_close(dict(one.shared), dict(other.shared), atol=1e-4, rtol=1e-4)
        assert all(not torch.equal(value, before[key]) for key, value in one.shared.items())


@pytest.mark.parametrize("name", EDITING)
def test_blocks_that_cannot_be_edited_are_refused(name):
    shared = eva(use_rot_pos_emb=True, attn_type="rope", qkv_fused=False, num_kv_heads=1)
    with pytest.raises(MethodError, match=f"{name}: the layers of this backbone's blocks cannot be edited"):
        registry.create(name).method.check(FrozenViT("shared keys", shared, 4))
