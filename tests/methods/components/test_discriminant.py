import pytest
import torch

from fedprompt.methods.components import discriminant


def test_scores_are_log_densities_up_to_a_term_that_all_classes_share():
    """S = diag(1, 4), m = (2, 0) and (0, 4): w = (2, 0) and (0, 1), b = -2 and -2."""
    weight, bias = discriminant.head(torch.tensor([[2.0, 0], [0, 4]]), torch.tensor([1.0, 4]).diag())
    assert weight.tolist() == [[2, 0], [0, 1]]
    assert bias.tolist() == [-2, -2]
    z = torch.tensor([1.0, 3.0])
    density = [torch.distributions.MultivariateNormal(m, torch.tensor([1.0, 4]).diag()).log_prob(z)
               for m in torch.tensor([[2.0, 0], [0, 4]])]  # fmt: skip
    scores = weight @ z + bias
    assert scores[0] - scores[1] == pytest.approx(float(density[0] - density[1]))


def test_shrinkage_moves_a_covariance_towards_its_mean_variance():
    """diag(1, 3) has the mean variance 2."""
    assert discriminant.shrunk(torch.tensor([1.0, 3]).diag(), 0.5).tolist() == [[1.5, 0], [0, 2.5]]
    assert discriminant.shrunk(torch.zeros(2, 2), 0.5).tolist() == [[1, 0], [0, 1]]


def test_covariances_are_shrunk_by_shares_of_their_own():
    pair = torch.stack([torch.tensor([1.0, 3]).diag(), torch.tensor([0.0, 4]).diag()])
    found = discriminant.shrunk(pair, torch.tensor([0.0, 1.0]).view(2, 1, 1))
    assert found.tolist() == [[[1, 0], [0, 3]], [[2, 0], [0, 2]]]


@pytest.mark.parametrize(
    ("variances", "share", "used"),
    [([1, 2], 0.0, 0.0), ([1, 2], 0.1, 0.1), ([0, 2], 0.1, 0.1), ([0, 2], 0.0, 1e-4), ([0, 0], 0.1, 1.0)],
)
def test_only_a_singular_covariance_is_shrunk_more_than_asked(variances, share, used):
    assert discriminant.least_share(torch.tensor(variances).double().diag(), share) == used
