from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedprompt.methods import registry
from tests import toy


class Adapter(nn.Module):
    """A timm MLP with an adapter behind it, written as modules."""

    def __init__(self, mlp, state, k, layer):
        super().__init__()
        down, up = nn.Linear(24, 8), nn.Linear(8, 24)
        for part, name in ((down, "down"), (up, "up")):
            part.weight.data = state[f"{name}.weight"][k, layer].T
            part.bias.data = state[f"{name}.bias"][k, layer]
        self.mlp, self.adapter = mlp, nn.Sequential(down, nn.GELU(), up)

    def forward(self, x):
        out = self.mlp(x)
        return out + self.adapter(out)


def start():
    return toy.simulator("fedadapter", of=toy.unequal(), settings={"fedadapter": {"width": 8}})


def test_logits_are_those_of_a_backbone_with_adapter_modules():
    simulator = start()
    jobs = simulator.make_tasks([0, 1, 2], 1)
    batch, state = toy.batch_of(simulator.context.method, jobs, width=10)
    generator = torch.Generator().manual_seed(1)
    state = {name: torch.randn(value.shape, generator=generator) * 0.3 for name, value in state.items()}
    found = simulator.context.method.logits(toy.vit(), batch, state).view(3, 10, -1)
    for k, job in enumerate(jobs):
        model = deepcopy(toy.vit().model)
        for layer, block in enumerate(model.blocks):
            block.mlp = Adapter(block.mlp, state, k, layer)
        feature = model.forward_features(toy.train_samples().pixels(torch.as_tensor(job.rows[:10])))[:, 0]
        expected = functional.linear(feature, state["head.weight"][k], state["head.bias"][k])
        torch.testing.assert_close(found[k], expected, atol=1e-3, rtol=1e-3)


class Sized:
    """What `shared` reads of a backbone."""

    def __init__(self, dim, depth):
        self.dim, self.depth, self.classes, self.initial_head = dim, depth, 10, None


def adapters(dim, depth, **settings):
    tensors = registry.create("fedadapter", {"fedadapter": settings}).method.shared(
        Sized(dim, depth), lambda _: torch.Generator()
    )
    return {name: value for name, value in tensors.items() if not name.startswith("head.")}


def test_a_base_sized_transformer_takes_the_1_189_632_values_of_the_paper():
    """The bottleneck is 64 wide there."""
    assert sum(value.numel() for value in adapters(768, 12).values()) == 1_189_632


@pytest.mark.parametrize(("dim", "expected"), [(768, 64), (1024, 85), (96, 8), (24, 2), (4, 1)])
def test_the_bottleneck_is_a_twelfth_of_the_backbones_width(dim, expected):
    assert adapters(dim, 3)["down.weight"].shape == (3, dim, expected)


def test_a_given_width_is_kept():
    assert adapters(96, 3, width=64)["up.weight"].shape == (3, 64, 96)


def test_every_layer_of_every_tensor_learns():
    """After a round: at the very start the way up is zero, so that nothing reaches the way down."""
    simulator = start()
    simulator.run()
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 3))
    state = {name: value.clone().requires_grad_() for name, value in state.items()}
    loss = simulator.context.method.loss(toy.vit(), batch, state).mean()
    for name, gradient in zip(state, torch.autograd.grad(loss, list(state.values())), strict=True):
        assert gradient[0].flatten(1).abs().amax(1).gt(1e-6).all() if gradient.dim() > 2 else gradient.any(), name
