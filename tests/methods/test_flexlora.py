import numpy as np
import pytest
import torch

from fedprompt.methods.flexlora import best_approximation
from tests import toy


def numpy_approximation(a, b, weights, rank):
    """The best approximation of that rank of sum_k w_k B_k A_k, by NumPy's SVD of the whole matrix."""
    u, s, vh = np.linalg.svd(np.einsum("k,kij->ij", weights, b @ a))
    return (u[:, :rank] * s[:rank]) @ vh[:rank]


@pytest.mark.parametrize(("clients", "rank", "dim"), [(3, 2, 12), (1, 2, 12), (8, 4, 12)])
def test_the_factors_give_the_truncated_svd_of_the_mean_product(clients, rank, dim):
    """Eight clients of rank 4 fill all 12 dimensions; one client's product comes back as it was."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(clients, 2, rank, dim)), rng.normal(size=(clients, 2, dim, rank))
    weights = rng.dirichlet(np.ones(clients))
    found_a, found_b = best_approximation(*map(torch.from_numpy, (a, b, weights)), rank)
    assert found_a.shape == (2, rank, dim)
    assert found_b.shape == (2, dim, rank)
    for place in range(2):
        expected = numpy_approximation(a[:, place], b[:, place], weights, rank)
        np.testing.assert_allclose((found_b @ found_a)[place], expected, atol=1e-10)
        np.testing.assert_allclose((found_a @ found_a.mT)[place], np.eye(rank), atol=1e-10)


def test_clients_receive_the_mean_product_and_the_mean_head():
    before, after = (toy.simulator("flexlora", of=toy.unequal(), rounds=rounds) for rounds in (0, 1))
    after.run()
    updates, shares = toy.learned(before, [0, 1, 2], 1), np.array([21, 10, 15]) / 46
    sent = {key: np.stack([u.shared[key].double().numpy() for u in updates]) for key in updates[0].shared}
    for target in ("q", "v"):
        keys = [f"lora.{factor}.{target}" for factor in "AB"]
        a, b = (after.state.server[key] for key in keys)
        for layer, found in enumerate((b @ a).numpy()):
            pair = (sent[key][:, layer] for key in keys)
            np.testing.assert_allclose(found, numpy_approximation(*pair, shares, 4), atol=1e-5)
    for key in ("head.weight", "head.bias"):
        np.testing.assert_allclose(after.state.server[key], np.einsum("k,k...->...", shares, sent[key]), atol=1e-6)


def test_zero_products_give_a_zero_product():
    a, b = best_approximation(torch.ones(2, 1, 2, 6), torch.zeros(2, 1, 6, 2), torch.tensor([0.5, 0.5]), 2)
    assert torch.equal(b @ a, torch.zeros(1, 6, 6))
