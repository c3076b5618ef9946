"""Matching of clients' prompts to common centroids, on problems with a known answer."""

from itertools import permutations

import numpy as np
import pytest
import torch

from fedprompt.methods.components.prompt_matching import (
    Centroids,
    assign,
    estimate,
    match_prompts,
    negative_log_density,
)

WIDTH = 8
POOL = 3 * torch.eye(4, WIDTH)  # four centroids, far apart
EQUAL = torch.ones(3)


def near(centroids, seed, shift=0.05):
    """Prompts around these centroids of the pool."""
    noise = torch.randn(len(centroids), WIDTH, generator=torch.Generator().manual_seed(seed))
    return POOL[centroids] + shift * noise


def test_prompts_in_any_order_are_matched_to_their_centroids():
    orders = [[2, 0, 3, 1], [1, 0, 2, 3], [3, 2, 1, 0]]
    prompts = [near(order, seed) for seed, order in enumerate(orders)]
    means, labels = match_prompts(prompts, EQUAL, POOL)
    assert [label.tolist() for label in labels] == orders
    sorted_back = [own[np.argsort(order)] for own, order in zip(prompts, orders, strict=True)]
    torch.testing.assert_close(means, torch.stack(sorted_back).mean(0))


def test_means_are_weighted_by_the_clients_samples():
    prompts = [near([0, 1, 2, 3], seed) for seed in (0, 1)]
    means, _ = match_prompts(prompts, torch.tensor([30.0, 10.0]), POOL)
    torch.testing.assert_close(means, 0.75 * prompts[0] + 0.25 * prompts[1])


def test_an_unmatched_centroid_is_dropped_and_the_others_keep_their_order():
    means, labels = match_prompts([near([3, 0], 0), near([0, 3], 1), near([0], 2)], EQUAL, POOL)
    assert [label.tolist() for label in labels] == [[1, 0], [0, 1], [0]]
    assert torch.cdist(means, POOL).argmin(1).tolist() == [0, 3]


def test_a_prompt_far_from_all_centroids_starts_a_new_one_that_other_clients_match():
    stranger = torch.zeros(1, WIDTH)
    stranger[0, 7] = -3
    prompts = [torch.cat([near([0, 1, 2], 0, 0.02), stranger]), near([0, 1, 2, 3], 1, 0.02)]
    prompts.append(torch.cat([stranger + 0.02, near([0, 1, 2], 2, 0.02)]))
    means, labels = match_prompts(
        [*prompts, *(near([0, 1, 2, 3], seed, 0.02) for seed in range(3, 9))], torch.ones(9), POOL
    )
    assert len(means) == 5
    assert labels[0].tolist() == [0, 1, 2, 4]
    assert labels[2].tolist() == [4, 0, 1, 2]
    torch.testing.assert_close(means[4], stranger[0] + 0.01)


def test_two_prompts_of_a_client_never_match_one_centroid():
    twins = torch.stack([POOL[0], POOL[0] + 0.01])
    _, labels = match_prompts([twins, near([0, 1, 2, 3], 0), near([0, 1, 2, 3], 1)], EQUAL, POOL)
    assert len(set(labels[0].tolist())) == 2


def test_unchanged_prompts_stay_unchanged():
    means, labels = match_prompts([POOL, POOL.flip(0)], torch.ones(2), POOL)
    assert [label.tolist() for label in labels] == [[0, 1, 2, 3], [3, 2, 1, 0]]
    torch.testing.assert_close(means, POOL)


def test_the_assignment_has_the_lowest_cost_of_all_permutations():
    """Over every permutation, the costs written with torch's own normal distribution."""
    generator = torch.Generator().manual_seed(0)
    own, means = torch.randn(2, 4, WIDTH, generator=generator, dtype=torch.double)
    variances = torch.tensor([0.5, 1.0, 2.0, 0.8], dtype=torch.double)
    active = torch.tensor([0.2, 0.9, 0.5, 0.7], dtype=torch.double)
    normal = torch.distributions.Normal(means, variances.sqrt()[:, None])
    cost = -normal.log_prob(own[:, None]).sum(-1) - (active / (1 - active)).log()
    far = torch.full((WIDTH,), 100.0, dtype=torch.double)  # so that no prompt starts a centroid
    label, found = assign(own, Centroids(means, variances, active), far, torch.tensor(1.0), torch.tensor(1.0), 3)
    best = min(permutations(range(4)), key=lambda order: sum(cost[i, j] for i, j in enumerate(order)))
    assert label.tolist() == list(best)
    assert torch.equal(found.means, means)


def test_the_density_equals_torchs_up_to_a_constant():
    generator = torch.Generator().manual_seed(1)
    own, means = torch.randn(2, 3, WIDTH, generator=generator, dtype=torch.double)
    variances = torch.tensor([0.5, 1.0, 2.0], dtype=torch.double)
    exact = -torch.distributions.Normal(means, variances.sqrt()[:, None]).log_prob(own[:, None]).sum(-1)
    difference = exact - negative_log_density(own, means, variances)
    torch.testing.assert_close(difference, torch.full_like(difference, WIDTH / 2 * np.log(2 * np.pi)))


def test_variances_and_activations_are_shrunk_by_hand():
    """By hand: centroid 0 has 1 and 3 (mean 2, squares 1 and 1), centroid 2 has 5 alone; the prior variance is 0.5."""
    prompts = [torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0]])]
    labels = [torch.tensor([0, 2]), torch.tensor([0])]
    found, renumbered = estimate(prompts, labels, torch.ones(2), 3, torch.tensor(0.5))
    assert found.means.flatten().tolist() == [2.0, 5.0]
    assert found.variances.tolist() == pytest.approx([2.5 / 3, 0.5 / 2])
    assert found.active.tolist() == pytest.approx([3 / 4, 2 / 4])
    assert [label.tolist() for label in renumbered] == [[0, 1], [0]]
