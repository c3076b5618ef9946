from math import sqrt

import numpy as np
import torch

from fedprompt.benchmark.simulation.batch import Batch, Clients
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, replace_after_cls, vpt_uniform
from tests import toy

STREAMS = RandomStreams("data", "partition", 0)
SEQUENCE = torch.arange(5.0).view(1, 5, 1)
PROMPTS = torch.tensor([[[-1.0], [-2.0]]])


def test_inserted_prompts_are_between_cls_and_the_patches():
    assert insert_after_cls(SEQUENCE, PROMPTS).flatten().tolist() == [0, -1, -2, 1, 2, 3, 4]


def test_replaced_prompts_take_the_positions_after_cls():
    assert replace_after_cls(SEQUENCE, PROMPTS).flatten().tolist() == [0, -1, -2, 3, 4]


def test_prompts_fill_the_interval_of_vpt():
    """v = sqrt(6 / (3 patch^2 + D)), here with patches of 4 and width 24: sqrt(6 / 72)."""
    prompts = vpt_uniform(toy.vit(), (40, 5), STREAMS.torch)
    limit = sqrt(1 / 12)
    assert prompts.shape == (40, 5, 24)
    assert 0.99 * limit < float(prompts.max()) <= limit
    assert -limit <= float(prompts.min()) < -0.99 * limit
    assert abs(float(prompts.mean())) < 0.01
    assert abs(float(prompts.std()) - limit / sqrt(3)) < 0.01


def test_prompts_depend_on_the_purpose_only():
    draw = [vpt_uniform(toy.vit(), (3,), STREAMS.torch, purpose) for purpose in ("a", "a", "b")]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])


def test_the_initial_head_is_small_unbiased_and_identical_for_all_methods():
    head = linear_head(toy.fresh_vit(classes=200), STREAMS.torch)
    assert head["head.weight"].shape == (200, 24)
    assert abs(float(head["head.weight"].std()) - 0.02) < 0.001
    assert head["head.bias"].tolist() == [0] * 200
    starts = [toy.simulator(name).state.server["head.weight"] for name in ("head", "fedvpt", "pep-fedpt", "pvpt")]
    assert all(torch.equal(start, starts[0]) for start in starts)


def test_each_client_is_classified_by_its_own_head():
    clients = Clients.of(np.ones((2, 3), np.int64), torch.device("cpu"))
    batch = Batch(toy.train_samples(), [np.arange(2), np.arange(1)], clients)
    weight = torch.tensor([[[1.0, 0], [0, 1], [1, 1]], [[2, 0], [0, 2], [-1, 0]]])
    bias = torch.tensor([[0.0, 0, 10], [1, 1, 1]])
    feature = torch.tensor([[1.0, 2], [3, 4], [5, 6], [0, 0]])  # the last row only fills up
    logits = classify(batch, feature, {"head.weight": weight, "head.bias": bias})
    assert logits[:3].tolist() == [[1, 2, 13], [3, 4, 17], [11, 13, -4]]
