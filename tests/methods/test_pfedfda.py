"""pfedfda: the global discriminant, a client's own statistics, and the cross-validated betas, against NumPy loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fedprompt.benchmark.simulation.evaluation.datastore import with_datastore
from fedprompt.methods.pfedfda import GRID, UNKNOWN, Gaussians, PFedFDA, Samples
from tests import toy

CLASSES, DIM = 4, 24


def new(of=None, rounds=0, **fields):
    return toy.simulator("pfedfda", of=of or toy.unequal(), rounds=rounds, settings={"pfedfda": fields})


def begun(of=None, **fields):
    """After the initial statistics."""
    simulator = new(of, **fields)
    simulator.run()
    return simulator


def own_state(simulator, client, held_out=False):
    """The tensors [1, ...] that a client predicts with."""
    tasks = simulator.evaluator.tasks(simulator.state, np.array([client]))
    (task,) = with_datastore(simulator.context, tasks, held_out)
    return {name: value[None] for name, value in task.state.tensors.items()}


def logits_and_features(simulator, client, state):
    """Of the client's training samples."""
    batch, _ = toy.batch_of(simulator.context.method, simulator.make_tasks([client], 1))
    method = simulator.context.method
    return (value(toy.vit(), batch, state).double().numpy() for value in (method.logits, method.feature))


def shrunk(covariance, share):
    return (1 - share) * covariance + share * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


def discriminant(means, covariance, prior, z):
    w = np.linalg.inv(covariance) @ means.T
    return z @ w - (means.T * w).sum(0) / 2 + np.log(prior + 1e-4)


def alike(one, other):
    """Whether scores agree up to a term that all classes of a sample share."""
    np.testing.assert_allclose(one - one[:, :1], other - other[:, :1], rtol=2e-3, atol=5e-3)


def test_with_beta_zero_it_is_the_global_discriminant_of_the_features_under_the_prompts():
    """Against scikit-learn on the pooled data."""
    simulator = begun(beta=0.0, shrinkage=0.1, diagonal=0.0)
    pooled, labels = [], []
    for client in (0, 1, 2):
        _, z = logits_and_features(simulator, client, own_state(simulator, client))
        pooled.append(z)
        labels.append(toy.dataset().train_y[simulator.context.federation.clients[client].train])
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(np.concatenate(pooled), np.concatenate(labels))
    scores = pooled[0] @ judge.coef_.T + judge.intercept_ - np.log(judge.priors_)
    counts = simulator.context.federation.counts[0]
    found, _ = logits_and_features(simulator, 0, own_state(simulator, 0))
    alike(found, scores + np.log(counts / counts.sum() + 1e-4))


def test_with_beta_zero_a_clients_own_samples_change_nothing():
    simulator = begun(beta=0.0)
    state = own_state(simulator, 0)
    with_own, _ = logits_and_features(simulator, 0, state)
    without = {name: value for name, value in state.items() if not name.startswith("remembered")}
    np.testing.assert_allclose(with_own, next(logits_and_features(simulator, 0, without)), atol=1e-4)


def test_with_beta_one_a_client_uses_its_own_means_and_covariance_only():
    """Client 0 has 6, 5, 5 and 5 samples."""
    simulator = begun(beta=1.0, shrinkage=0.2, diagonal=0.5)
    found, z = logits_and_features(simulator, 0, own_state(simulator, 0))
    labels = toy.dataset().train_y[simulator.context.federation.clients[0].train]
    means = np.stack([z[labels == c].mean(0) for c in range(CLASSES)])
    covariance = (z - means[labels]).T @ (z - means[labels]) / (len(z) - 1)
    counts = simulator.context.federation.counts[0]
    alike(found, discriminant(means, shrunk(covariance + 0.5 * np.eye(DIM), 0.2), counts / counts.sum(), z))


def samples(z, labels):
    """One client's samples."""
    return Samples(torch.tensor(z).double()[None], torch.eye(CLASSES).double()[torch.tensor(labels)][None])


def gaussians(dim, generator):
    z = torch.randn(40, dim, generator=generator).double()
    known = torch.tensor([[True, True, True, False]])
    return Gaussians(torch.randn(1, CLASSES, dim, generator=generator).double(), (z.T @ z / 40)[None], known)


def by_hand(z, labels, shared, prior, share):
    """The pair of betas in loops: fit on one half of every class, test on the other."""
    kept = [i for i in range(len(z)) if (labels == labels[i]).sum() > 1]
    order = np.array([(labels[:i] == labels[i]).sum() % 2 for i in range(len(z))])
    means_g, covariance_g = shared.means[0].numpy(), shared.covariance[0].numpy()
    losses = np.zeros((len(GRID), len(GRID)))
    for half in (0, 1):
        train = [i for i in kept if order[i] == half]
        test = [i for i in kept if order[i] != half]
        means, known = means_g.copy(), shared.known[0].numpy().copy()
        for c in range(CLASSES):
            members = [i for i in train if labels[i] == c]
            if len(members) >= 3:
                means[c], known[c] = z[members].mean(0), True
        away = z[train] - means[labels[train]]
        covariance = away.T @ away / (len(train) - 1)
        for i, b in enumerate(GRID):
            for j, a in enumerate(GRID):
                m, s = b * means + (1 - b) * means_g, a * covariance + (1 - a) * covariance_g
                scores = discriminant(m, shrunk(s + 0.2 * np.eye(3), share), prior, z[test])
                scores[:, ~known] = UNKNOWN
                losses[i, j] -= log_softmax(scores, 1)[np.arange(len(test)), labels[test]].sum()
    i, j = np.unravel_index(losses.argmin(), losses.shape)
    return [GRID[i], GRID[j]]


@pytest.mark.parametrize("seed", range(4))
def test_betas_have_the_lowest_loss_of_two_fold_cross_validation(seed):
    """Eight, seven, two and one samples of the four classes, half way between the global and other means."""
    generator = torch.Generator().manual_seed(seed)
    shared = gaussians(3, generator)
    labels = np.random.default_rng(seed).permutation([0] * 8 + [1] * 7 + [2] * 2 + [3])
    away = torch.randn(CLASSES, 3, generator=generator).double()
    z = (shared.means[0] + away)[labels].numpy() + 0.5 * torch.randn(18, 3, generator=generator).double().numpy()
    prior = np.bincount(labels, minlength=4) / 18
    log_prior = torch.tensor(np.log(prior + 1e-4))[None]
    found = PFedFDA(shrinkage=0.05, diagonal=0.2).betas(samples(z, labels), shared, log_prior)
    assert found[0].tolist() == pytest.approx(by_hand(z, labels, shared, prior, 0.05))


def test_a_client_far_from_the_global_means_trusts_its_own():
    """Global means at 0 and 1, own at 10 and 20, variance 1: the global rule calls everything class 1."""
    z = [[9.5], [10.5], [9.0], [11.0], [10.0], [10.2], [19.5], [20.5], [19.0], [21.0], [20.0], [20.2]]
    shared = Gaussians(torch.tensor([[[0.0], [1], [0], [0]]]).double(), torch.ones(1, 1, 1).double(),
                       torch.tensor([[True, True, False, False]]))  # fmt: skip
    prior = torch.tensor([[0.5, 0.5, 0, 0]]).double()
    betas = PFedFDA(diagonal=0.0).betas(samples(z, [0] * 6 + [1] * 6), shared, (prior + 1e-4).log())
    assert betas[0, 0] == pytest.approx(1, abs=0.11)


def test_a_client_without_two_samples_of_a_class_uses_the_global_statistics():
    shared = gaussians(3, torch.Generator().manual_seed(0))
    own = samples(np.ones((3, 3)), [0, 1, 2])
    assert PFedFDA().betas(own, shared, torch.zeros(1, 4).double()).tolist() == [[0, 0]]


def test_rows_that_only_pad_a_datastore_are_in_no_statistic():
    generator = torch.Generator().manual_seed(0)
    shared, z, labels = gaussians(3, generator), torch.randn(6, 3, generator=generator).double(), [0, 0, 0, 1, 1, 1]
    plain = samples(z.tolist(), labels)
    padded = Samples(
        torch.cat([plain.z, 9 + torch.zeros(1, 2, 3)], 1), torch.cat([plain.one_hot, torch.zeros(1, 2, 4)], 1)
    )
    for one, other in zip(plain.fitted(shared), padded.fitted(shared), strict=True):
        torch.testing.assert_close(one, other)


def test_held_out_clients_use_the_global_statistics_and_their_own_in_the_personalised_score_only():
    simulator = begun()
    assert "remembered" not in own_state(simulator, 3)
    assert own_state(simulator, 3, held_out=True)["remembered"].any()


def test_a_class_that_a_round_does_not_sample_keeps_its_mean_and_an_unknown_one_is_not_predicted():
    federation = toy.deal([toy.rows_of(0, 1), toy.rows_of(1, 2)], [[0], [1]])
    simulator = begun(federation, inertia=0.25)
    method, before = simulator.context.method, simulator.state.server.tensors
    sums = {"sum": torch.zeros(CLASSES, DIM).double(), "count": torch.zeros(CLASSES, 1).double()}
    sums["sum"][0], sums["count"][0] = 2.0, 1.0
    after = method.apply_statistics(before, {**sums, "second": torch.full((DIM, DIM), 4.0).double()})
    torch.testing.assert_close(after["means"][0], 0.75 * torch.full((DIM,), 2.0) + 0.25 * before["means"][0])
    covariance = torch.zeros(DIM, DIM)  # one sample: 4 - 2 * 2
    torch.testing.assert_close(after["covariance"], 0.75 * covariance + 0.25 * before["covariance"])
    assert torch.equal(after["means"][1:], before["means"][1:])
    assert after["known"].tolist() == [1, 1, 1, 0]
    logits, _ = logits_and_features(simulator, 0, own_state(simulator, 0))
    assert (logits[:, 3] == UNKNOWN).all()


def test_clients_upload_prompts_and_their_statistics_and_never_their_datastore():
    """Before round 1 the statistics of 4, 2 and 3 classes; in each round also a prompt of ten tokens in fp32."""
    outcome = new(rounds=2).run()
    statistics = 8 * (9 * (DIM + 1) + 3 * DIM * DIM)
    assert outcome.upload_bytes == 3 * statistics + 2 * 3 * 4 * 10 * DIM


def test_a_run_logs_the_betas_of_seen_clients():
    outcome = new(rounds=1).run()
    assert 0 <= outcome.rounds[-1]["test_beta_means"] <= 1
    assert 0 <= outcome.rounds[-1]["test_beta_covariance"] <= 1
    fixed = replace(new(beta=0.3).context.method)
    assert fixed.betas(None, None, torch.zeros(2, 4)).tolist() == [[pytest.approx(0.3)] * 2] * 2


def test_a_held_out_client_can_adapt_to_a_class_that_nobody_else_has():
    """Its loss starts at about 1e4 and stays finite; its own mean then makes the class known."""
    trains, tests = [toy.rows_of(0, 1), toy.rows_of(2), toy.rows_of(3)], [[0], [1], toy.rows_of(3, part="test")]
    metrics = new(toy.deal(trains, tests, held_out=[2]), rounds=1).run().metrics
    assert metrics["held_out"]["mean"] == 0
    assert metrics["held_out_personalised"]["mean"] > 0.5
