"""Statistics of features, compared with NumPy."""

import numpy as np
import torch

from fedprompt.benchmark.backbone.standardization import standardization


def sums(z, pairs=False):
    z = torch.as_tensor(z, dtype=torch.float64)
    return torch.tensor([float(len(z))]), z.sum(0), z.T @ z if pairs else z.square().sum(0)


def mixed(count=200):
    """Correlated features with different means and scales."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 5)) @ rng.normal(size=(5, 5)) * [1, 10, 0.1, 1, 3] + [5, -3, 100, 0, 1]


def test_standardised_features_have_mean_zero_and_variance_one():
    z = mixed()
    out = standardization(*sums(z))(torch.as_tensor(z).float()).numpy()
    np.testing.assert_allclose(out, (z - z.mean(0)) / z.std(0), atol=1e-3)


def test_whitened_features_have_the_identity_as_covariance_up_to_the_shrinkage():
    z = np.random.default_rng(0).normal(size=(20_000, 5)) @ np.diag([1, 2, 3, 4, 5]) + 7
    found = standardization(*sums(z, pairs=True))
    out = found(torch.as_tensor(z).float()).numpy()
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-2)
    np.testing.assert_allclose(np.cov(out.T), np.eye(5), atol=0.01)
    assert 0 < found.shrinkage < 1e-3


def test_the_shrinkage_is_that_of_chen_et_al():
    z = mixed(12)
    s = np.cov(z.T, bias=True)
    trace, squares, n, p = np.trace(s), (s**2).sum(), 12, 5
    weight = ((1 - 2 / p) * squares + trace**2) / ((n + 1 - 2 / p) * (squares - trace**2 / p))
    found = standardization(*sums(z, pairs=True))
    assert np.isclose(found.shrinkage, weight)
    shrunk = (1 - weight) * s + weight * trace / p * np.eye(5)
    scale = found.scale.double().numpy()
    np.testing.assert_allclose(scale @ shrunk @ scale, np.eye(5), atol=1e-4)


def test_a_constant_feature_is_centred_and_not_scaled():
    z = mixed()
    z[:, 2] = 0.1
    out = standardization(*sums(z))
    assert (out.constant, float(out.scale[2])) == (1, 1.0)
    whitened = standardization(*sums(z, pairs=True))
    assert whitened.constant == 1
    assert whitened.scale[2].tolist() == whitened.scale[:, 2].tolist() == [0, 0, 1, 0, 0]


def test_fewer_samples_than_features_and_none_at_all_give_finite_features():
    for count in (0, 1, 2):
        for pairs in (False, True):
            out = standardization(*sums(mixed()[:count].reshape(count, 5), pairs))(torch.ones(3, 2, 5))
            assert out.shape == (3, 2, 5)
            assert torch.isfinite(out).all()
