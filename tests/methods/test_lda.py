"""lda against scikit-learn on the pooled data, and its treatment of the prior."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from fedprompt.benchmark.simulation.batch import Batch, Clients
from fedprompt.methods import registry
from tests import toy


def ran(name="lda", of=None, **fields):
    return toy.ran(name, of=of or toy.unequal(), rounds=1, settings={"lda": fields})


def logits_of(simulator, client, rows, labelled=True):
    """The logits of test rows for one client, from the simulator's current state."""
    clients = Clients.of(simulator.context.federation.counts[[client]] * labelled, toy.vit().device)
    state = {name: value[None] for name, value in simulator.state.server.tensors.items()}
    return simulator.context.method.logits(toy.vit(), Batch(toy.test_samples(), [rows], clients), state)


@pytest.mark.parametrize("shrinkage", [0.01, 0.5])
def test_posteriors_are_those_of_scikit_learn_with_the_clients_prior(shrinkage):
    """scikit-learn averages the classes' maximum-likelihood covariances by their shares, which is the same."""
    simulator = ran(shrinkage=shrinkage)
    federation, data = simulator.context.federation, toy.dataset()
    rows = np.concatenate([federation.clients[k].train for k in federation.seen])
    z = toy.train_samples().features(torch.from_numpy(rows)).double().numpy()
    tested = toy.test_samples().features(torch.arange(30)).double().numpy()
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(z, data.train_y[rows])
    scores = tested @ judge.coef_.T + judge.intercept_ - np.log(judge.priors_)
    for client in (0, 3):  # both have every class; the second is held out
        prior = federation.counts[client] / federation.counts[client].sum()
        expected = scores + np.log(prior)
        found = logits_of(simulator, client, np.arange(30)).double().numpy()
        np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=1e-3, atol=1e-3)


def test_classes_that_the_client_lacks_are_excluded_and_an_unlabelled_client_has_a_uniform_prior():
    simulator = ran()
    own = logits_of(simulator, 1, np.arange(5))  # has classes 0 and 1
    assert own[:, :2].isfinite().all()
    assert own[:, 2:].isneginf().all()
    blind, plain = (logits_of(run, 1, np.arange(5), labelled=False) for run in (simulator, ran("lda:uniform")))
    torch.testing.assert_close(blind, plain - np.log(4))


def test_without_prior_the_score_corrected_at_temperature_one_is_that_of_lda():
    plain, uniform = ran().outcome, ran("lda:uniform").outcome
    assert [row["accuracy_prior_uncalibrated"] for row in uniform.clients] == [row["accuracy"] for row in plain.clients]
    assert uniform.metrics_prior_uncalibrated["seen"] == plain.metrics["seen"]
    assert "held_out_unlabelled" in plain.metrics
    assert "held_out_unlabelled" not in uniform.metrics
    assert plain.metrics["held_out_unlabelled"] == uniform.metrics["held_out"]


def test_the_partition_does_not_change_the_head():
    rows = [client.train for client in toy.unequal().clients[:3]]
    whole = toy.deal([np.concatenate(rows), toy.unequal().clients[3].train], [[0], [1]], held_out=[1])
    one, many = ran(of=whole).state.server, ran().state.server
    torch.testing.assert_close(one["head.weight"], many["head.weight"])


def test_with_the_scaled_identity_as_covariance_the_nearest_mean_is_predicted():
    simulator = ran("lda:uniform", shrinkage=1.0)
    federation, labels = simulator.context.federation, toy.dataset().train_y
    rows = np.concatenate([federation.clients[k].train for k in federation.seen])
    z = toy.train_samples().features(torch.from_numpy(rows)).double()
    means = torch.stack([z[labels[rows] == c].mean(0) for c in range(4)])
    nearest = torch.cdist(toy.test_samples().features(torch.arange(30)).double(), means).argmin(1)
    assert logits_of(simulator, 0, np.arange(30)).argmax(1).tolist() == nearest.tolist()


@pytest.mark.parametrize(("rows", "used"), [([[0], [1]], 1.0), ([[0, 1, 2], [3, 4]], 1e-4)])
def test_a_singular_covariance_is_shrunk_more_and_this_is_logged(rows, used):
    """One sample per class leaves no spread; five samples span fewer than 24 dimensions."""
    labels = toy.dataset().train_y
    assert used != 1.0 or labels[0] != labels[1]
    outcome = ran(of=toy.deal(rows, [[0, 1], [2]]), shrinkage=0.0).outcome
    assert outcome.rounds[-1]["test_shrinkage"] == pytest.approx(used)
    assert np.isfinite(outcome.metrics["seen"]["mean"])


def test_clients_upload_counts_sums_and_a_second_moment_once():
    """Clients that hold 4, 2 and 3 classes: nine rows of 24 + 1, and three matrices, in fp64."""
    assert toy.simulator("lda", of=toy.unequal(), rounds=3).run().upload_bytes == 8 * (9 * 25 + 3 * 24 * 24)


def test_a_client_of_classes_that_nobody_else_has_is_scored_without_nan():
    trains, tests = [toy.rows_of(0, 1), toy.rows_of(3)], [[0], toy.rows_of(3, part="test")]
    outcome = ran(of=toy.deal(trains, tests, held_out=[1])).outcome
    for metrics in (outcome.metrics, outcome.metrics_prior):
        assert metrics["held_out"]["mean"] == 0
    assert outcome.metrics["held_out_em"]["mean"] == outcome.metrics["held_out_bbse"]["mean"] == 0


def test_only_the_variant_with_prior_reads_it():
    assert registry.create("lda").method.uses_prior
    assert not registry.create("lda:uniform").method.uses_prior
