"""fedpr: after round 1, updates of prompts are orthogonal to the received prompts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.methods.registry import create
from tests import toy

LAYERS, TOKENS, WIDTH = 4, 3, 24
SETTINGS = {"fedpr": {"tokens": TOKENS}}


def along(step, prompts):
    """The largest share, over layers, of a step [L, p, D] that lies in the span of prompts [L, p, D], by SVD."""
    shares = []
    for one, own in zip(step, prompts, strict=True):
        span = np.linalg.svd(own, full_matrices=False)[2]
        shares.append(np.linalg.norm(one @ span.T) / np.linalg.norm(one))
    return max(shares)


@pytest.mark.parametrize("client", [0, 1, 2])
def test_a_clients_update_is_orthogonal_to_the_span_of_the_global_prompt_after_round_one(client):
    simulator = toy.simulator("fedpr", of=toy.unequal(), settings=SETTINGS, rounds=1)
    start = simulator.state.server["prompts"].numpy().copy()
    (first,) = toy.learned(simulator, [client], 1)
    assert along(first.shared["prompts"].numpy() - start, start) > 0.1  # round 1 is not projected
    simulator.run()
    received = simulator.state.server["prompts"].numpy().copy()
    (update,) = toy.learned(simulator, [client], 2)
    step = update.shared["prompts"].numpy() - received
    assert np.abs(step).max() > 1e-4
    assert along(step, received) < 1e-4


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_with_adam_the_step_is_orthogonal_although_adam_scales_every_value_of_the_gradient(optimizer):
    training = replace(toy.TRAINING, optimizer=optimizer, lr=0.01)
    simulator = toy.simulator("fedpr", of=toy.unequal(), settings=SETTINGS, rounds=1, training=training)
    simulator.run()
    received = simulator.state.server["prompts"].numpy().copy()
    (update,) = toy.learned(simulator, [0], 2)
    assert along(update.shared["prompts"].numpy() - received, received) < 1e-4


def test_the_projected_gradient_is_a_least_squares_residual():
    rng = np.random.default_rng(0)
    prompts, gradient = rng.normal(size=(2, 2, LAYERS, TOKENS, WIDTH)).astype(np.float32)
    received = {"prompts": torch.from_numpy(prompts), "projecting": torch.ones(2)}
    head = torch.ones(2, 4)
    kept = create("fedpr").method.adjust_gradients({"prompts": torch.from_numpy(gradient), "head.bias": head}, received)
    assert kept["head.bias"] is head
    for k in range(2):
        for layer in range(LAYERS):
            basis, target = prompts[k, layer].T, gradient[k, layer].T
            residual = target - basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
            np.testing.assert_allclose(kept["prompts"][k, layer].numpy().T, residual, atol=1e-5)


def test_the_official_scaling_divides_by_the_norm_of_the_projector():
    """Of the projector I - QQ' itself, written out."""
    rng = np.random.default_rng(1)
    prompts, gradient = (torch.from_numpy(rng.normal(size=(1, 1, TOKENS, WIDTH)).astype(np.float32)) for _ in range(2))
    received = {"prompts": prompts, "projecting": torch.ones(1)}
    plain, scaled = (
        create(name).method.adjust_gradients({"prompts": gradient}, received)["prompts"]
        for name in ("fedpr", "fedpr:frobenius")
    )
    own = prompts[0, 0].numpy()
    projector = np.eye(WIDTH) - own.T @ np.linalg.inv(own @ own.T) @ own
    np.testing.assert_allclose(scaled, plain / np.linalg.norm(projector), rtol=1e-4, atol=1e-6)


def test_round_one_equals_fedvpt_deep_except_for_weight_decay_of_prompts():
    training = replace(toy.TRAINING, weight_decay=0.0)
    one, other = (toy.simulator(name, of=toy.unequal(), training=training) for name in ("fedpr", "fedvpt-deep"))
    for left, right in zip(toy.learned(one, [0, 1], 1), toy.learned(other, [0, 1], 1), strict=True):
        assert all(torch.equal(left.shared[key], right.shared[key]) for key in right.shared)
