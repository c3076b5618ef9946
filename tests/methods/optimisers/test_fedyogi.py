"""Yogi by hand, b1 = b2 = 1/2, tau 1, rate 2: v starts at 1, the server at 0.

Round 1: delta 4, m 2, v 1 + 16 / 2 = 9, w 2 x 2 / (3 + 1) = 1. Round 2: delta 2, m 2, v 9 - 4 / 2 = 7, where Adam's
would be 6.5.
"""

import pytest
import torch

from fedprompt.methods.optimisers.fedyogi import FedYogi


def test_two_rounds_by_hand():
    server = FedYogi(lr=2.0, beta1=0.5, beta2=0.5, tau=1.0)
    start = {"w": torch.tensor([0.0])}
    after, memory = server.server_step(start, {"w": torch.tensor([4.0])}, server.memory(start))
    assert (after["w"].item(), memory["m.w"].item(), memory["v.w"].item()) == (1, 2, 9)
    after, memory = server.server_step(after, {"w": torch.tensor([3.0])}, memory)
    assert (memory["m.w"].item(), memory["v.w"].item()) == (2, 7)
    assert after["w"].item() == pytest.approx(1 + 2 * 2 / (7**0.5 + 1))


def test_a_second_moment_equal_to_the_squared_update_is_unchanged():
    server = FedYogi(lr=1.0, tau=1.0)
    start = {"w": torch.tensor([0.0])}
    _, memory = server.server_step(start, {"w": torch.tensor([-1.0])}, server.memory(start))
    assert memory["v.w"].item() == 1
