import numpy as np
import torch

from fedprompt.methods.optimisers.fedrs import FedRS
from tests import toy
from tests.methods.optimisers.test_la import batch_of


def test_logits_of_the_classes_that_a_client_lacks_are_scaled():
    one, other = toy.deal_out([[3, 1, 0, 0], [0, 0, 2, 0]], toy.dataset().train_y)
    batch = batch_of(np.array(one), np.array(other), plugin=FedRS(alpha=0.25))
    logits = FedRS(alpha=0.25).adjust_logits(batch, torch.tensor([[4.0, -4.0, 8.0, -8.0]] * 8))
    assert logits[0].tolist() == [4, -4, 2, -2]
    assert logits[-1].tolist() == [1, -1, 8, -2]


def test_the_gradient_of_absent_classes_is_scaled_once_more():
    (rows,) = toy.deal_out([[1, 0, 0, 0]], toy.dataset().train_y)
    logits = torch.tensor([[0.0, 2.0, 0.0, 0.0]], requires_grad=True)
    for alpha, absent in ((0.5, 0.5 * np.e / (3 + np.e)), (0.0, 0.0)):
        losses = batch_of(np.array(rows), plugin=FedRS(alpha=alpha)).cross_entropy(logits)
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        np.testing.assert_allclose(gradient[0, 1], absent, rtol=1e-5)
