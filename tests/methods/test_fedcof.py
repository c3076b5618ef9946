import numpy as np
import pytest
import torch

from fedprompt.methods import State, fedcof, registry
from tests import toy

DIM, CLASSES = 24, toy.CLASSES


def method(**fields):
    made = registry.create("fedcof", {"fedcof": fields}).method
    assert isinstance(made, fedcof.FedCOF)
    return made


def ran(of=None, **fields):
    """FedCOF after its only exchange."""
    return toy.ran("fedcof", of=of or toy.unequal(), rounds=1, settings={"fedcof": fields})


def by_hand(simulator, gamma, ridge):
    """Section 4 of the paper in loops, in double precision; a class of one client has the covariance gamma I."""
    labels, gram, sums = toy.dataset().train_y, np.zeros((DIM, DIM)), np.zeros((CLASSES, DIM))
    rows = [simulator.context.federation.clients[k].train for k in simulator.context.federation.seen]
    z = toy.train_samples().features(torch.arange(60)).double().numpy()
    for c in range(CLASSES):
        of_class = [own[labels[own] == c] for own in rows if (labels[own] == c).any()]
        together = np.concatenate(of_class)
        sums[c], covariance = z[together].sum(0), gamma * np.eye(DIM)
        for own in of_class if len(of_class) > 1 else []:
            away = z[own].mean(0) - z[together].mean(0)
            covariance += len(own) * np.outer(away, away) / (len(of_class) - 1)
        gram += (len(together) - 1) * covariance
    mean, count = z[np.concatenate(rows)].mean(0), sum(map(len, rows))
    w = np.linalg.solve(gram + count * np.outer(mean, mean) + ridge * np.eye(DIM), sums.T)
    return (w / np.linalg.norm(w, axis=0)).T


@pytest.mark.parametrize(("gamma", "ridge"), [(1.0, 0.01), (0.1, 2.0)])
def test_the_head_follows_the_papers_formula(gamma, ridge):
    simulator = ran(gamma=gamma, ridge=ridge)
    np.testing.assert_allclose(simulator.state.server["head.weight"], by_hand(simulator, gamma, ridge), atol=2e-4)


def test_the_covariance_of_a_class_of_one_client_is_the_shrinkage_term():
    federation = toy.deal([toy.rows_of(0, 1), toy.rows_of(2, 3)], [[0], [1]])
    simulator = ran(federation)
    assert simulator.state.server["head.weight"].isfinite().all()
    np.testing.assert_allclose(simulator.state.server["head.weight"], by_hand(simulator, 1.0, 0.01), atol=2e-4)


def sent(clients, samples, factor, rng):
    """What the server has added up of clients with `samples` draws each of N(m, F F^T), a class for every client.

    As many classes as `factor` [C, D, D] has; a client's classes are drawn apart.
    """
    total: State = {}
    for _ in range(clients):
        z = 3 + torch.randn(len(factor), samples, factor.shape[1], generator=rng) @ factor.mT
        statistics = {"sum": z.sum(1), "count": torch.full((len(factor), 1), float(samples))}
        for name, value in method().transform_statistics(statistics).items():
            total[name] = total.get(name, 0) + value
    return total


def test_the_estimate_converges_to_a_known_covariance():
    """By the central limit theorem sqrt(n) (mean - m) has the samples' own covariance; its error falls as 1/sqrt(K)."""
    factor = torch.tensor([[1.0, 0, 0], [0.8, 0.5, 0], [-0.3, 0.2, 2.0]]).expand(50, 3, 3)
    truth = factor[0] @ factor[0].T
    errors = [
        (fedcof.class_covariances(sent(clients, 5, factor, torch.Generator().manual_seed(0))) - truth)
        .norm(dim=(1, 2))
        .mean()
        for clients in (10, 160)
    ]
    assert errors[0] == pytest.approx(4 * errors[1], rel=0.25)
    assert errors[1] < 0.2 * truth.norm()


def test_the_estimated_covariance_is_unbiased():
    """The mean over many classes of three clients is the covariance itself: K - 1 is what it is divided by."""
    found = fedcof.class_covariances(
        sent(3, 4, torch.eye(2).expand(4000, 2, 2), torch.Generator().manual_seed(0))
    ).mean(0)
    torch.testing.assert_close(found, torch.eye(2), atol=0.06, rtol=0)


def test_upload_size_equals_that_of_fedncm():
    costs = [toy.simulator(name, of=toy.unequal(), rounds=1).run().upload_bytes for name in ("fedcof", "fedncm")]
    assert costs[0] == costs[1] == 4 * 9 * (DIM + 1)
