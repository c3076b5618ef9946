import numpy as np
import pytest
import torch

from fedprompt.methods import Uploads, registry
from tests import toy

COHORT = [0, 1, 2]
SHARES = np.array([21, 10, 15]) / 46


def ran(name, rounds, **changes):
    return toy.ran(name, of=toy.unequal(), rounds=rounds, **changes)


def double(state, key):
    return state[key].double().numpy()


def effective(state, target):
    """What is added to the frozen weight of a target layer, without the scale: B A + residual."""
    return double(state, f"lora.B.{target}") @ double(state, f"lora.A.{target}") + double(state, f"residual.{target}")


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("target", ["q", "v"])
def test_the_effective_weights_are_the_mean_of_the_clients_effective_weights(target, rounds):
    """In every round: after the second, the residual of the first is part of every client's weights."""
    before, after = ran("fedex-lora", rounds), ran("fedex-lora", rounds + 1)
    ends = [{**job.state.memory, **update.shared} for job, update in one_round(before, rounds + 1)]
    expected = sum(share * effective(end, target) for share, end in zip(SHARES, ends, strict=True))
    np.testing.assert_allclose(effective(after.state.server.tensors, target), expected, atol=1e-7)
    assert np.abs(double(after.state.server.tensors, f"residual.{target}")).max() > 5e-6


def one_round(simulator, number):
    return zip(simulator.make_tasks(COHORT, number), toy.learned(simulator, COHORT, number), strict=True)


def test_the_next_round_starts_from_the_averages_of_a_and_b():
    updates, after = toy.learned(ran("fedex-lora", 0), COHORT, 1), ran("fedex-lora", 1).state.server
    for key in ("lora.A.q", "lora.B.q", "head.weight"):
        mean = sum(share * double(update.shared, key) for share, update in zip(SHARES, updates, strict=True))
        np.testing.assert_allclose(after[key], mean, atol=1e-6)


def test_the_residual_of_rank_one_factors_by_hand():
    """Two clients with A = (1 0), B = (1 0)^T and A = (0 1), B = (0 1)^T, which have 1 and 3 samples.

    The mean product is diag(1/4, 3/4); the averages are A = (1/4 3/4) and B = A^T.
    """
    method = registry.create("fedex-lora", {"fedex-lora": {"rank": 1, "targets": "v"}}).method
    unit = torch.eye(2)
    shared = {"lora.A.v": unit.view(2, 1, 1, 2), "lora.B.v": unit.view(2, 1, 2, 1)}
    server = {**{key: value[0] for key, value in shared.items()}, "residual.v": torch.ones(1, 2, 2)}
    combined = method.combine(server, Uploads([0, 1], torch.tensor([1.0, 3.0]), shared, {}))
    residual = torch.tensor([[[1 / 4 - 1 / 16, -3 / 16], [-3 / 16, 3 / 4 - 9 / 16]]])
    torch.testing.assert_close(combined["residual.v"], 1 + residual)


def test_one_client_per_round_leaves_no_residual_and_gives_fedlora():
    simulator, parent = (ran(name, 3, participation=0.01) for name in ("fedex-lora", "fedlora"))
    for key, value in parent.state.server.tensors.items():
        torch.testing.assert_close(simulator.state.server[key], value, atol=1e-5, rtol=1e-4)
    assert simulator.state.server["residual.q"].abs().max() < 1e-6


def test_the_residual_is_part_of_the_prediction():
    """A product B A that moves into the residual leaves the logits as they were."""
    simulator = ran("fedex-lora", 1)
    method = simulator.context.method
    batch, state = toy.batch_of(method, simulator.make_tasks(COHORT, 2), width=10)
    moved = dict(state)
    for target in ("q", "v"):
        product = state[f"lora.B.{target}"] @ state[f"lora.A.{target}"]
        moved[f"residual.{target}"] = state[f"residual.{target}"] + product
        moved[f"lora.B.{target}"] = torch.zeros_like(state[f"lora.B.{target}"])
    logits = [method.logits(toy.vit(), batch, tensors) for tensors in (state, moved)]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-4)


def test_the_dense_residual_is_downloaded_and_never_uploaded():
    """4 layers x 2 targets x 24 x 24 values for each of three clients, beside the 1636 of the LoRA and the head."""
    outcome = ran("fedex-lora", 1).outcome
    assert outcome.upload_bytes == 3 * 4 * 1636
    assert outcome.download_bytes == 3 * 4 * (1636 + 4608)


def test_residuals_have_the_shapes_of_their_layers():
    settings = {"fedex-lora": {"targets": "fc1,fc2"}}
    server = ran("fedex-lora", 1, settings=settings).state.server
    assert server["residual.fc1"].shape == (4, 96, 24)
    assert server["residual.fc2"].shape == (4, 24, 96)
