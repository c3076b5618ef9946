"""fedpac: the quadratic programme for combining heads, its inputs, and the heads of each client."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch

from fedprompt.methods import Phase
from fedprompt.methods.fedpac import HEAD, FedPAC, combination_weights, minimise_on_simplex, moments
from tests import toy


def expected_error(weights, own, means, variances):
    """Squared bias and variance of a combination of means [K, C, D], written out."""
    bias = sum(a * (mean - means[own]) for a, mean in zip(weights, means, strict=True))
    return float((bias**2).sum() + (weights**2 * variances).sum())


def problem(clients, spread, seed):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(1, 3, 5)) + spread * rng.normal(size=(clients, 3, 5))
    return means, rng.uniform(0.1, 3, clients)


def solved(means, variances):
    flat = torch.from_numpy(means.reshape(len(means), -1))
    weights, unsolved = combination_weights(flat @ flat.T, torch.from_numpy(variances))
    assert unsolved == 0
    return weights.numpy()


@pytest.mark.parametrize("spread", [0.01, 0.2, 0.5, 3.0])
def test_weights_of_two_clients_match_a_grid_search(spread):
    for seed in range(5):
        means, variances = problem(2, spread, seed)
        weights = solved(means, variances)
        grid = np.linspace(0, 1, 1001)
        for own in range(2):
            errors = [expected_error(np.array([a, 1 - a]), own, means, variances) for a in grid]
            assert weights[own, 0] == pytest.approx(grid[int(np.argmin(errors))], abs=6e-4)
            assert weights[own].sum() == pytest.approx(1)


def test_no_sampled_point_of_the_simplex_is_better():
    means, variances = problem(7, 0.3, 0)
    weights, rng = solved(means, variances), np.random.default_rng(1)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1)
    for own in range(7):
        best = expected_error(weights[own], own, means, variances)
        near = [0.999 * weights[own] + 0.001 * corner for corner in np.eye(7)]
        for other in [*rng.dirichlet(np.ones(7), 2000), *near]:
            assert expected_error(other, own, means, variances) >= best - 1e-12


def test_similar_clients_are_weighted_by_inverse_variance_and_different_ones_keep_their_own_head():
    same, variances = np.ones((2, 1, 4)), np.array([1.0, 3.0])
    np.testing.assert_allclose(solved(same, variances), [[0.75, 0.25]] * 2)
    np.testing.assert_allclose(solved(same * [[[0.0]], [[1e4]]], variances), np.eye(2), atol=1e-6)


def test_a_zero_matrix_has_a_solution():
    weights = minimise_on_simplex(torch.zeros(3, 3, dtype=torch.float64))
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()


def test_a_client_keeps_its_own_head_if_the_solver_fails_and_the_record_counts_it(monkeypatch):
    monkeypatch.setattr("scipy.optimize.nnls", Mock(side_effect=RuntimeError("Maximum number of iterations reached.")))
    simulator = toy.simulator("fedpac", of=toy.unequal(), rounds=1)
    updates = toy.learned(simulator, [0, 1, 2], 1)
    outcome = simulator.run()
    assert outcome.rounds[1]["train_unsolved"] == 3
    assert outcome.rounds[1]["train_own_weight"] == 1
    for update in updates:
        assert torch.equal(simulator.state.server[f"{update.client}.head.weight"], update.shared["head.weight"])


def test_moments_match_a_direct_computation():
    """The variance of a mean, in numpy over the samples' one-hot (y) z^T themselves."""
    simulator = toy.simulator("fedpac", of=toy.unequal())
    updates = toy.learned(simulator, [0, 1, 2], 1)
    kept = []
    original = FedPAC.combine
    try:
        FedPAC.combine = lambda self, server, uploads: kept.append(uploads) or original(self, server, uploads)
        simulator.run()
    finally:
        FedPAC.combine = original
    products, variances = moments(kept[0])
    means = []
    for update in updates:
        batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([update.client], 9))
        z = (
            simulator.context.method.feature(simulator.context.vit, batch, {"prompt": update.shared["prompt"][None]})
            .double()
            .numpy()
        )
        tensor = np.eye(4)[batch.labels.numpy()][:, :, None] * z[:, None]
        means.append(tensor.mean(0).ravel())
        spread = tensor.reshape(len(z), -1).var(0).sum() / len(z)
        assert float(variances[len(means) - 1]) == pytest.approx(spread, rel=1e-4)
    np.testing.assert_allclose(products, np.stack(means) @ np.stack(means).T, rtol=1e-4)


def test_the_head_trains_before_the_prompts_and_only_the_prompts_use_prototypes():
    simulator = toy.simulator("fedpac", of=toy.unequal(), settings={"fedpac": {"pull": 2.0}})
    method = simulator.context.method
    assert method.phases() == (Phase(HEAD, 1, None), Phase(("prompt",)))
    batch, state = toy.batch_of(method, simulator.make_tasks([1], 1))
    state |= {"prototypes": torch.ones(1, 4, 24), "known": torch.tensor([[1.0, 0, 0, 0]])}
    losses = []
    for phase in method.phases():
        batch.phase = phase
        losses.append(method.loss(simulator.context.vit, batch, state))
    plain = torch.nn.functional.cross_entropy(
        method.logits(simulator.context.vit, batch, state), batch.labels, reduction="none"
    )
    z = method.feature(simulator.context.vit, batch, state)
    torch.testing.assert_close(losses[0], plain)
    torch.testing.assert_close(losses[1] - plain, 2 * (z - 1).square().mean(1) * (batch.labels == 0))


def test_a_client_has_its_combination_of_the_cohorts_heads_or_their_mean():
    simulator = toy.simulator("fedpac", of=toy.unequal(), participation=2 / 3, rounds=1)
    cohort = simulator.context.cohort(1).tolist()
    updates = toy.learned(simulator, cohort, 1)
    simulator.run()
    (absent,) = {0, 1, 2} - set(cohort)
    heads = torch.stack([update.shared["head.weight"] for update in updates])
    held = {s.client: s.state.tensors["head.weight"] for s in simulator.evaluator.tasks(simulator.state, np.arange(4))}
    assert torch.equal(held[absent], held[3])
    for client in cohort:
        first = torch.linalg.lstsq(
            (heads[0] - heads[1]).flatten()[:, None], (held[client] - heads[1]).flatten()
        ).solution
        share = float(first)
        assert -1e-6 <= share <= 1 + 1e-6
        torch.testing.assert_close(held[client], share * heads[0] + (1 - share) * heads[1], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(held[3], (held[cohort[0]] + held[cohort[1]]) / 2)


def test_heads_class_sums_and_squares_travel_in_addition_to_the_prompts():
    """Up: a sum and a count of each of the 4 + 2 + 3 classes held, and a sum of squares; down: every prototype."""
    outcome = toy.simulator("fedpac", of=toy.unequal(), rounds=1).run()
    model = 3 * (10 * 24 + 4 * 24 + 4)
    assert outcome.upload_bytes == 4 * (model + 9 * 25 + 3)
    assert outcome.download_bytes == 4 * (model + 3 * 4 * 25)
