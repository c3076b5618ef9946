"""The temperature of the prior correction, against SciPy's optimum and against cases with a known answer."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from fedprompt.benchmark.simulation.evaluation.calibration import BYTES_PER_CLIENT, GRID, UNCALIBRATED, best, losses
from fedprompt.benchmark.simulation.evaluation.scoring import ScoringTask
from fedprompt.benchmark.simulation.tasks import ClientState
from fedprompt.methods import Method
from fedprompt.methods.registry import Recipe
from tests import toy


class Head(Method):
    """A linear head on the frozen feature."""

    def logits(self, vit, batch, state):
        return batch.linear(vit.features(batch), state["weight"], state["bias"])


def tasks(scale=1.0, sizes=(30, 7, 12)):
    """Clients with noisy class means as heads and random rows, their counts being those of the rows.

    The noise makes some predictions wrong, so that the likelihood has an optimum inside the grid.
    """
    rng, labels, made = np.random.default_rng(0), toy.dataset().train_y, []
    features = toy.train_samples().features(torch.arange(60))
    means = torch.stack([features[labels == c].mean(0) for c in range(4)])
    for k, size in enumerate(sizes):
        rows = np.sort(rng.permutation(60)[:size])
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(k))
        weight = scale * (means - means.mean(0) + 2.0 * noise)
        state = ClientState({"weight": weight, "bias": torch.zeros(4)}, {}, {})
        made.append(ScoringTask(k, rows, np.bincount(labels[rows], minlength=4), state))
    return made


def total(made, **options):
    return losses(Recipe("toy", Head()), toy.vit(), toy.train_samples(), made, **options)


def reference(made, temperature, smoothing=0.0):
    """Negative log-likelihood of softmax(logits / T + log prior), summed over all clients and samples."""
    samples, value = toy.train_samples(), 0.0
    for one in made:
        rows = torch.from_numpy(one.rows)
        logits = (samples.features(rows) @ one.state["weight"].T).double().numpy() / temperature
        counts = one.counts + smoothing
        scores = logits + np.log(counts / counts.sum())
        labels = samples.labels[rows].numpy()
        value += float((logsumexp(scores, axis=1) - scores[np.arange(len(rows)), labels]).sum())
    return value


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("threads", [1, 3])
def test_losses_are_the_summed_negative_log_likelihoods(smoothing, threads):
    made = tasks()
    expected = [reference(made, t, smoothing) for t in GRID]
    np.testing.assert_allclose(total(made, threads=threads, smoothing=smoothing), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.25, 1.0, 8.0])
def test_the_chosen_temperature_is_the_grid_point_next_to_the_optimum(scale):
    made = tasks(scale)
    chosen = GRID[best(total(made))]
    found = minimize_scalar(
        lambda x: reference(made, np.exp(x)), bounds=(np.log(1 / 128), np.log(128)), method="bounded"
    )
    assert abs(np.log(chosen) - found.x) < np.log(2) / 4


def test_scaling_the_logits_scales_the_temperature():
    places = [best(total(tasks(scale))) for scale in (1.0, 4.0)]
    assert places[1] - places[0] == 8  # 8 quarter powers of two


def test_logits_that_say_nothing_take_the_middle_of_the_grid():
    assert best(total(tasks(scale=0.0))) == UNCALIBRATED
    assert GRID[UNCALIBRATED] == 1


def test_logits_that_contradict_the_labels_leave_the_prior_alone():
    assert GRID[best(np.linspace(9, 1, len(GRID)))] == 128


def test_infinite_losses_leave_the_logits_uncalibrated():
    assert best(np.full(len(GRID), np.inf)) == best(np.full(len(GRID), np.nan)) == UNCALIBRATED


def test_only_sampled_clients_take_part_and_each_sends_one_number_per_temperature():
    run = toy.simulator("head", rounds=1, participation=0.5)
    outcome = run.run()
    assert outcome.calibration_bytes == len(run.context.sampled(1)) * BYTES_PER_CLIENT == 2 * 4 * 58
    assert outcome.upload_bytes == 2 * 4 * (4 * 24 + 4), "no part of the method's traffic"


def test_the_corrected_scores_of_a_run_use_its_temperature():
    run = toy.simulator("head", rounds=1)
    outcome, samples = run.run(), toy.test_samples()
    weight, bias = run.state.server["head.weight"], run.state.server["head.bias"]
    for task in run.evaluator.tasks(run.state, run.context.federation.seen):
        rows, prior = torch.from_numpy(task.rows), torch.from_numpy(task.counts / task.counts.sum()).log()
        logits = samples.features(rows) @ weight.T + bias
        row = outcome.clients[task.client]
        for name, temperature in (("prior", outcome.temperature), ("prior_uncalibrated", 1)):
            right = ((logits / temperature + prior).argmax(1) == samples.labels[rows]).double().mean()
            assert row[f"accuracy_{name}"] == pytest.approx(float(right))
    assert outcome.temperature in GRID
    means = [outcome.clients[k]["accuracy_prior"] for k in run.context.federation.seen]
    assert outcome.metrics_prior["seen"]["mean"] == pytest.approx(np.mean(means))
