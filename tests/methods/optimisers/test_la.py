import numpy as np
import torch

from fedprompt.benchmark.simulation.batch import Batch, Clients
from fedprompt.methods.optimisers.la import LogitAdjustment
from tests import toy
from tests.methods.contract import ran, same


def batch_of(*rows, plugin):
    """A batch of clients with these training rows of the toy data, in which a loss plug-in acts."""
    counts = np.stack([np.bincount(toy.dataset().train_y[own], minlength=toy.CLASSES) for own in rows])
    batch = Batch(toy.train_samples(), rows, Clients.of(counts, torch.device("cpu")))
    batch.loss_plugins = (plugin,)
    return batch


def test_the_log_class_shares_of_each_client_are_added():
    one, other = toy.deal_out([[3, 1, 0, 0], [1, 1, 1, 1]], toy.dataset().train_y)
    batch = batch_of(np.array(one), np.array(other), plugin=LogitAdjustment(tau=2.0))
    logits = LogitAdjustment(tau=2.0).adjust_logits(batch, torch.ones(8, toy.CLASSES))
    expected = [1 + 2 * np.log(0.75), 1 + 2 * np.log(0.25), -np.inf, -np.inf]
    np.testing.assert_allclose(logits[:4], [expected] * 4, rtol=1e-6)
    np.testing.assert_allclose(logits[4:], np.full((4, 4), 1 + 2 * np.log(0.25)), rtol=1e-6)


def test_absent_classes_get_no_gradient_and_nothing_is_nan():
    """The second client is padded with a row of a class that it does not have."""
    labels = toy.dataset().train_y
    other = np.flatnonzero(labels != labels[0])
    one, two = np.arange(6), other[labels[other] == labels[other[0]]][:2]
    batch = batch_of(one, two, plugin=LogitAdjustment())
    logits = torch.randn(12, toy.CLASSES, generator=torch.Generator().manual_seed(0), requires_grad=True)
    means = batch.means(batch.cross_entropy(logits))
    (gradient,) = torch.autograd.grad(means.sum(), logits)
    assert means.isfinite().all()
    assert gradient.isfinite().all()
    assert means[1] == 0  # one class is left
    assert not gradient[6:].any()
    assert gradient[:6][:, np.bincount(labels[:6], minlength=4) > 0].any()
    assert not gradient[:6][:, np.bincount(labels[:6], minlength=4) == 0].any()


def test_with_tau_one_it_is_the_balanced_softmax_of_fedrod():
    adjusted, balanced = ran("fedvpt+la").simulator.state, ran("fedrod:generic").simulator.state
    assert same(adjusted.server.tensors, balanced.server.tensors)
