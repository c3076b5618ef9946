from copy import deepcopy

import pytest
import timm
import torch
from torch.nn import functional

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.methods import MethodError, registry
from tests import toy


def random(state):
    """Other values for each client in every bias."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.3 if name.startswith("bias.") else value
        for name, value in state.items()
    }


def start():
    return toy.simulator("fedbias", of=toy.unequal())


def test_logits_are_those_of_the_backbone_with_other_biases():
    """By timm's own forward of a copy whose bias terms have been moved."""
    simulator = start()
    jobs = simulator.make_tasks([0, 1, 2], 1)
    batch, state = toy.batch_of(simulator.context.method, jobs, width=10)
    state = random(state)
    found = simulator.context.method.logits(toy.vit(), batch, state).view(3, 10, -1)
    for k, job in enumerate(jobs):
        model, moved = deepcopy(toy.vit().model), {name.removeprefix("bias."): v[k] for name, v in state.items()}
        model.patch_embed.proj.bias.data += moved["patch"]
        model.norm.bias.data += moved["norm"]
        for layer, block in enumerate(model.blocks):
            for point, part in {
                "norm1": block.norm1,
                "qkv": block.attn.qkv,
                "proj": block.attn.proj,
                "norm2": block.norm2,
                "fc1": block.mlp.fc1,
                "fc2": block.mlp.fc2,
            }.items():
                part.bias.data += moved[point][layer]
        feature = model.forward_features(toy.train_samples().pixels(torch.as_tensor(job.rows[:10])))[:, 0]
        expected = functional.linear(feature, state["head.weight"][k], state["head.bias"][k])
        torch.testing.assert_close(found[k], expected, atol=1e-4, rtol=1e-4)


def test_a_base_sized_transformer_has_102_912_biases():
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    vit = FrozenViT("vit_base_patch16_224", model, 10)
    biases = registry.create("fedbias").method.shared(vit, lambda _: torch.Generator())
    assert sum(value.numel() for name, value in biases.items() if name.startswith("bias.")) == 102_912
    assert sum(p.numel() for name, p in model.named_parameters() if name.endswith("bias")) == 102_912


def test_every_bias_except_that_of_the_keys_learns():
    """A bias of the keys adds the same to every score of a query, which softmax does not see."""
    simulator = start()
    simulator.run()
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 3))
    names = [name for name in state if name.startswith("bias.")]
    state = {name: value.clone().requires_grad_(name in names) for name, value in state.items()}
    loss = simulator.context.method.loss(toy.vit(), batch, state).mean()
    for name, gradient in zip(names, torch.autograd.grad(loss, [state[name] for name in names]), strict=True):
        parts = gradient[0].view(-1, 3, 24)[:, [0, 2]] if name == "bias.qkv" else gradient[0]
        assert parts.abs().amax(-1).gt(1e-6).all(), name
        if name == "bias.qkv":
            assert gradient[0].view(-1, 3, 24)[:, 1].abs().max() < 1e-6


def test_blocks_that_cannot_be_edited_are_refused():
    vit = toy.fresh_vit()
    vit.hidden = 0
    with pytest.raises(MethodError, match="fedbias: the layers of this backbone's blocks cannot be edited"):
        registry.create("fedbias").method.check(vit)
