import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.batch import Batch, Clients
from tests import toy

TOKENS, PATCHES = 3, 16


def deep(mode):
    return toy.simulator("fedvpt-deep", settings={"fedvpt-deep": {"mode": mode, "tokens": TOKENS}})


def logits(simulator, prompts=None):
    """Logits of the first six training images, with other prompts where given."""
    clients = Clients.of(np.ones((1, 4), np.int64), simulator.context.vit.device)
    tensors = simulator.state.server.tensors | ({} if prompts is None else {"prompts": prompts})
    state = simulator.context.class_rows.gather([tensors], clients)
    batch = Batch(simulator.context.train, [np.arange(6)], clients)
    return simulator.context.method.logits(simulator.context.vit, batch, state)


def lengths(simulator):
    """Tokens that enter each layer; in the last one those that cls attends to."""
    seen: list[int] = []
    hooks = [
        block.norm1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
        for block in simulator.context.vit.model.blocks
    ]
    logits(simulator)
    for hook in hooks:
        hook.remove()
    return seen


def test_replace_mode_keeps_the_sequence_length():
    assert lengths(deep("replace")) == [1 + TOKENS + PATCHES] * 4


def test_appending_makes_the_sequence_grow_at_every_layer():
    assert lengths(deep("append")) == [1 + n * TOKENS + PATCHES for n in (1, 2, 3, 4)]


def test_both_modes_start_from_the_same_prompts_and_predict_differently():
    replace, append = deep("replace"), deep("append")
    assert torch.equal(replace.state.server["prompts"], append.state.server["prompts"])
    assert not torch.allclose(logits(replace), logits(append), atol=1e-4)


@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_the_prompts_of_every_layer_reach_the_prediction(mode, layer):
    simulator = deep(mode)
    prompts = simulator.state.server["prompts"].clone()
    prompts[layer] = 0
    assert not torch.allclose(logits(simulator, prompts), logits(simulator), atol=1e-5)


def test_replace_mode_overwrites_the_prompt_positions_of_a_plain_transformer():
    """Written out against timm's own blocks."""
    simulator = deep("replace")
    model, prompts = simulator.context.vit.model, simulator.state.server["prompts"]
    x = simulator.context.train.tokens(torch.arange(6))
    x = torch.cat([x[:, :1], torch.zeros(6, TOKENS, 24), x[:, 1:]], dim=1)
    for block, own in zip(model.blocks, prompts, strict=True):
        x = x.clone()
        x[:, 1 : 1 + TOKENS] = own
        x = block(x)
    expected = model.norm(x)[:, 0] @ simulator.state.server["head.weight"].T + simulator.state.server["head.bias"]
    torch.testing.assert_close(logits(simulator), expected, atol=1e-5, rtol=1e-4)
