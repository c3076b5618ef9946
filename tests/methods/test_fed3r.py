import numpy as np
import pytest
import torch

from fedprompt.methods.fed3r import solve
from tests import toy


def ran(of=None, variant="", **fields):
    """Fed3R after its only exchange."""
    federation = toy.unequal() if of is None else of
    return toy.ran(f"fed3r{variant}", of=federation, rounds=1, settings={"fed3r": fields})


def pooled(simulator):
    """Features and one-hot labels of all seen clients' training data together, in double precision."""
    rows = np.concatenate([simulator.context.federation.clients[k].train for k in simulator.context.federation.seen])
    z = toy.train_samples().features(torch.from_numpy(rows)).double().numpy()
    return z, np.eye(toy.CLASSES)[toy.dataset().train_y[rows]]


def ridge_regression(x, y, ridge):
    """Least squares on data with sqrt(lambda) I below it, which forms no Gram matrix: [features, C]."""
    size = x.shape[1]
    below = np.concatenate([x, np.sqrt(ridge) * np.eye(size)]), np.concatenate([y, np.zeros((size, toy.CLASSES))])
    return np.linalg.lstsq(*below, rcond=None)[0]


@pytest.mark.parametrize("ridge", [0.01, 5.0])
def test_the_federated_head_equals_pooled_ridge_regression_with_a_constant_feature(ridge):
    server = ran(ridge=ridge).state.server
    z, y = pooled(ran(ridge=ridge))
    w = ridge_regression(np.column_stack([z, np.ones(len(z))]), y, ridge)
    length = np.linalg.norm(w[:-1], axis=0)
    np.testing.assert_allclose(server["head.weight"], (w[:-1] / length).T, atol=1e-6)
    np.testing.assert_allclose(server["head.bias"], w[-1] / length, rtol=1e-5)


def test_without_bias_it_is_pooled_ridge_regression_on_the_features():
    simulator = ran(variant=":no-bias", ridge=0.5)
    z, y = pooled(simulator)
    w = ridge_regression(z, y, 0.5)
    np.testing.assert_allclose(simulator.state.server["head.weight"], (w / np.linalg.norm(w, axis=0)).T, atol=1e-6)
    assert simulator.state.server["head.bias"].tolist() == [0] * toy.CLASSES


def test_afl_is_least_squares_on_the_pooled_data():
    """46 samples of 24 features, whose sum is 0 after the last layer norm: a direction without information."""
    simulator = ran(variant=":afl")
    z, y = pooled(simulator)
    assert abs(z.sum(1)).max() < 1e-5
    expected = np.linalg.lstsq(z, y, rcond=1e-5)[0].T
    np.testing.assert_allclose(simulator.state.server["head.weight"], expected, atol=1e-5)
    assert simulator.outcome.rounds[-1]["test_dropped_directions"] == 1


def test_afl_with_fewer_samples_than_dimensions_is_the_solution_of_minimum_norm_and_says_so():
    """Three samples span three of 24 dimensions."""
    simulator = ran(toy.deal([[0, 1], [2]], [[0], [1]]), ":afl")
    z, y = pooled(simulator)
    np.testing.assert_allclose(simulator.state.server["head.weight"], (np.linalg.pinv(z, rcond=1e-5) @ y).T, atol=1e-5)
    assert simulator.outcome.rounds[-1]["test_dropped_directions"] == 21


def test_a_system_of_zeros_has_the_solution_zero():
    weight, dropped = solve(torch.zeros(3, 3).double(), torch.ones(2, 3).double(), ridge=0.0)
    assert weight.tolist() == [[0] * 3] * 2
    assert dropped == 3


def test_a_ridge_keeps_every_direction_however_small_beside_the_largest():
    """Eigenvalues 1e10 and 0 with a ridge of 0.01: the weight along the second is 1 / 0.01."""
    weight, dropped = solve(torch.tensor([1e10, 0]).double().diag(), torch.ones(1, 2).double(), ridge=0.01)
    torch.testing.assert_close(weight, torch.tensor([[1 / (1e10 + 0.01), 100.0]]).double())
    assert dropped == 0


def test_the_sums_over_many_clients_keep_what_single_precision_would_lose():
    """1e8 + 1 is 1e8 in fp32."""
    simulator = toy.simulator("fed3r", of=toy.unequal())
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0, 1, 2], 0))
    sums = simulator.context.method.statistics(toy.vit(), batch, state)
    assert {value.dtype for value in sums.values()} == {torch.float64}
    total = {"gram": torch.full((25, 25), 1e8).double()}
    simulator.context.class_rows.add(total, {"gram": torch.ones(25, 25).double()}, torch.arange(4))
    assert total["gram"][0, 0] == 1e8 + 1


def test_the_partition_does_not_change_the_head():
    rows = [client.train for client in toy.unequal().clients[:3]]
    whole = toy.deal([np.concatenate(rows), toy.unequal().clients[3].train], [[0], [1]], held_out=[1])
    torch.testing.assert_close(ran(whole).state.server["head.weight"], ran().state.server["head.weight"])


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
        z = torch.cat([z, torch.ones(len(z), 1)], 1).double()
        torch.testing.assert_close(found[k], z.T @ z)


def test_a_class_without_training_samples_is_never_predicted():
    federation = toy.deal([toy.rows_of(0, 1), toy.rows_of(1)], [toy.rows_of(0, 3, part="test"), []])
    simulator = ran(federation)
    assert simulator.state.server["head.bias"].isneginf().tolist() == [False, False, True, True]


@pytest.mark.parametrize(("variant", "width"), [("", 25), (":no-bias", 24), (":afl", 24)])
def test_each_client_uploads_its_gram_matrix_and_class_sums_once(variant, width):
    """Clients that hold 4, 2 and 3 classes: 3 Gram matrices and 9 sums, in fp64."""
    outcome = toy.simulator(f"fed3r{variant}", of=toy.unequal(), rounds=3).run()
    assert outcome.upload_bytes == 8 * (3 * width * width + 9 * width)


def test_weights_are_finite_with_few_samples():
    federation = toy.deal([[0], [1]], [[0], [1]])
    assert ran(federation, ridge=1e-6).state.server["head.weight"].isfinite().all()
