import numpy as np
import pytest
import torch

from fedprompt.methods.lora_fair import correction
from tests import toy

SHARES = np.array([21, 10, 15]) / 46


def ran(name, penalty=None, rounds=1):
    settings = {} if penalty is None else {name: {"penalty": penalty}}
    return toy.ran(name, of=toy.unequal(), rounds=rounds, settings=settings)


def random(*shape):
    return torch.from_numpy(np.random.default_rng(len(shape) + sum(shape)).normal(size=shape))


def test_the_correction_by_hand():
    """A = (2 0), B = (1 0)^T, product (6 1; 4 1), lambda 1: C = (product - B A) A^T / (4 + 1) = (8/5 8/5)^T."""
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0], [0.0]])
    found = correction(a, b, torch.tensor([[6.0, 1.0], [4.0, 1.0]]), penalty=1.0)
    torch.testing.assert_close(found, torch.tensor([[1.6], [1.6]]))


@pytest.mark.parametrize("penalty", [0.0, 0.01, 3.0])
def test_the_correction_is_a_ridge_regression_on_the_residual(penalty):
    """Independently: least squares for [A^T; sqrt(lambda) I] C^T = [residual^T; 0]."""
    a, b, product = random(2, 3, 8), random(2, 6, 3), random(2, 6, 8)
    found = correction(a, b, product, penalty).double().numpy()
    for layer in range(2):
        left = np.concatenate([a[layer].T, penalty**0.5 * np.eye(3)])
        right = np.concatenate([(product - b @ a)[layer].T, np.zeros((3, 6))])
        np.testing.assert_allclose(found[layer], np.linalg.lstsq(left, right, rcond=None)[0].T, atol=1e-5)


def test_without_penalty_no_other_b_has_a_larger_cosine_with_the_mean_product():
    a, b, product = random(3, 8), random(6, 3), random(6, 8)

    def cosine(factor):
        return torch.cosine_similarity((factor @ a).flatten(), product.flatten(), dim=0)

    best = b + correction(a, b, product, 0.0).double()
    assert all(cosine(best + 0.01 * random(6, 3).roll(k)) < cosine(best) for k in range(1, 18))
    assert cosine(b) < cosine(best)


def test_dependent_rows_of_a_and_a_zero_a_give_a_finite_correction():
    a, b, product = random(1, 8).repeat(3, 1), random(6, 3), random(6, 8)
    found = correction(a, b, product, 0.0).double()
    projected = product @ a[0] / (a[0] @ a[0])  # of the rows of the product onto the only direction
    torch.testing.assert_close((b + found) @ a, torch.outer(projected, a[0]), atol=1e-5, rtol=1e-5)
    assert torch.equal(correction(torch.zeros(3, 8), b.float(), product, 0.0), torch.zeros(6, 3))


def test_a_large_penalty_gives_fedlora():
    fair, parent = ran("lora-fair", penalty=1e12, rounds=2), ran("fedlora", rounds=2)
    for key, value in parent.state.server.tensors.items():
        torch.testing.assert_close(fair.state.server[key], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("target", ["q", "v"])
def test_b_moves_the_product_towards_the_mean_product_and_a_is_the_average(target):
    fair, parent = ran("lora-fair").state.server, ran("fedlora").state.server
    updates = toy.learned(toy.simulator("lora-fair", of=toy.unequal()), [0, 1, 2], 1)
    a, b = f"lora.A.{target}", f"lora.B.{target}"
    mean = sum(share * update.shared[b] @ update.shared[a] for share, update in zip(SHARES, updates, strict=True))
    assert torch.equal(fair[a], parent[a])
    assert torch.equal(fair["head.weight"], parent["head.weight"])
    corrected, averaged = ((mean - server[b] @ server[a]).norm() for server in (fair, parent))
    assert corrected < averaged
