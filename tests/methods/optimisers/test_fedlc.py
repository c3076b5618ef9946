import numpy as np
import torch

from fedprompt.methods.optimisers.fedlc import FedLC
from tests import toy
from tests.methods.optimisers.test_la import batch_of


def test_the_margin_is_tau_over_the_fourth_root_of_the_clients_count():
    """Clients with 15 and 1, and with 0 and 1 samples of two classes."""
    one, other = toy.deal_out([[15, 1, 0, 0], [0, 1, 0, 0]], toy.dataset().train_y)
    batch = batch_of(np.array(one), np.array(other), plugin=FedLC(tau=0.5))
    logits = FedLC(tau=0.5).adjust_logits(batch, torch.full((32, toy.CLASSES), 3.0))[[0, -1]]
    expected = [[3 - 0.5 * 15**-0.25, 2.5, -np.inf, -np.inf], [-np.inf, 2.5, -np.inf, -np.inf]]
    np.testing.assert_allclose(logits, expected, rtol=1e-6)


def test_the_loss_and_its_gradient_are_those_of_a_softmax_over_the_clients_classes():
    (rows,) = toy.deal_out([[4, 1, 0, 0]], toy.dataset().train_y)
    batch = batch_of(np.array(rows), plugin=FedLC(tau=2.0))
    logits = torch.zeros(5, toy.CLASSES, requires_grad=True)
    losses = batch.cross_entropy(logits)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    odds = np.exp([-2 / 4**0.25, -2.0])
    shares = odds / odds.sum()
    np.testing.assert_allclose(losses.detach(), -np.log(shares[[0, 0, 0, 0, 1]]), rtol=1e-5)
    np.testing.assert_allclose(gradient[0], [shares[0] - 1, shares[1], 0, 0], atol=1e-6)


def test_without_tau_absent_classes_are_not_excluded():
    (rows,) = toy.deal_out([[4, 1, 0, 0]], toy.dataset().train_y)
    logits = torch.randn(5, toy.CLASSES, generator=torch.Generator().manual_seed(0))
    assert torch.equal(FedLC(tau=0.0).adjust_logits(batch_of(np.array(rows), plugin=None), logits), logits)
