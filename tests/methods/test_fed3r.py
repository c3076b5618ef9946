import numpy as np
import pytest
import torch

from tests import toy


def ran(of=None, **fields):
    """Fed3R after its only exchange."""
    federation = toy.unequal() if of is None else of
    return toy.ran("fed3r", of=federation, rounds=1, settings={"fed3r": fields})


def pooled(simulator):
    """Features and one-hot labels of all seen clients' training data together, in double precision."""
    rows = np.concatenate([simulator.context.federation.clients[k].train for k in simulator.context.federation.seen])
    z = toy.train_samples().features(torch.from_numpy(rows)).double().numpy()
    return z, np.eye(toy.CLASSES)[toy.dataset().train_y[rows]]


@pytest.mark.parametrize("ridge", [0.01, 5.0])
def test_the_federated_head_equals_pooled_ridge_regression(ridge):
    """Solved as least squares on data with sqrt(lambda) I below it, which forms no Gram matrix."""
    simulator = ran(ridge=ridge)
    z, y = pooled(simulator)
    below = np.concatenate([z, np.sqrt(ridge) * np.eye(24)]), np.concatenate([y, np.zeros((24, toy.CLASSES))])
    w, *_ = np.linalg.lstsq(*below, rcond=None)
    expected = (w / np.linalg.norm(w, axis=0)).T
    np.testing.assert_allclose(simulator.state.server["head.weight"], expected, atol=2e-4)


def test_the_partition_does_not_change_the_head():
    rows = [client.train for client in toy.unequal().clients[:3]]
    whole = toy.deal([np.concatenate(rows), toy.unequal().clients[3].train], [[0], [1]], held_out=[1])
    torch.testing.assert_close(
        ran(whole).state.server["head.weight"], ran().state.server["head.weight"], atol=2e-4, rtol=0
    )


def test_padding_rows_are_in_no_sum():
    """Clients of 21, 10 and 15 images share a pass, in which row 0 of the data fills the shorter ones up."""
    simulator = toy.simulator("fed3r", of=toy.unequal())
    method = simulator.context.method
    jobs = simulator.make_tasks([0, 1, 2], 0)
    batch, state = toy.batch_of(method, jobs)
    assert not batch.mask.all()
    found = method.statistics(toy.vit(), batch, state)["gram"]
    for k, job in enumerate(jobs):
        z = toy.train_samples().features(torch.from_numpy(job.rows))
        torch.testing.assert_close(found[k], z.T @ z, atol=1e-4, rtol=1e-4)


def test_a_class_without_training_samples_is_never_predicted():
    federation = toy.deal([toy.rows_of(0, 1), toy.rows_of(1)], [toy.rows_of(0, 3, part="test"), []])
    simulator = ran(federation)
    assert simulator.state.server["unseen"].tolist() == [0, 0, -torch.inf, -torch.inf]


def test_each_client_uploads_its_gram_matrix_and_class_sums_once():
    """Clients that hold 4, 2 and 3 classes: 3 Gram matrices of 24 x 24, and 9 sums of 24, in fp32."""
    outcome = toy.simulator("fed3r", of=toy.unequal(), rounds=3).run()
    assert outcome.upload_bytes == 4 * (3 * 24 * 24 + 9 * 24)


def test_weights_are_finite_with_few_samples():
    federation = toy.deal([[0], [1]], [[0], [1]])
    assert ran(federation, ridge=1e-6).state.server["head.weight"].isfinite().all()
