"""Held-out clients with estimated class shares: which model, which logits and which samples the scores come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.evaluation import prior_estimation, unlabelled
from fedprompt.benchmark.simulation.evaluation.unlabelled import Estimated, confusion_matrix, evaluate, predictions
from tests import toy


def blind(run):
    """The held-out clients with unknown labels."""
    return run.evaluator.tasks(run.state, run.context.federation.held_out, labelled=False)


def shifted():
    """Seen clients of all classes; held-out ones of classes 0 and 1 only, and of class 3."""
    trains = toy.deal_out([[7, 6, 6, 6], [4, 5, 5, 3], [2, 2, 0, 0], [0, 0, 0, 3]], toy.dataset().train_y)
    tests = toy.deal_out([[1, 1, 2, 2], [1, 1, 1, 1], [5, 3, 0, 0], [0, 0, 0, 4]], toy.dataset().test_y)
    return toy.deal(trains, tests, held_out=[2, 3])


def head_logits(run, rows, part):
    samples = {"train": toy.train_samples(), "test": toy.test_samples()}[part]
    weight, bias = run.state.server["head.weight"], run.state.server["head.bias"]
    return (samples.features(torch.as_tensor(rows)) @ weight.T + bias).double().numpy()


def source_of(run):
    federation = run.context.federation
    counts = federation.counts[federation.seen].sum(0)
    return counts / counts.sum()


def confusion_of(run, clients):
    table = np.zeros((4, 4))
    for client in clients:
        rows = run.context.federation.clients[client].train
        for guess, label in zip(head_logits(run, rows, "train").argmax(1), toy.dataset().train_y[rows], strict=True):
            table[guess, label] += 1
    return table


def test_a_method_without_prior_is_corrected_by_the_estimated_shares_at_the_fitted_temperature():
    run = toy.ran("head", of=shifted(), rounds=3)
    temperature, labels, found = run.outcome.temperature, toy.dataset().test_y, {"em": [], "bbse": []}
    for task in blind(run):
        logits = head_logits(run, task.rows, "test")
        guesses = np.bincount(logits.argmax(1), minlength=4)
        shares = {
            "em": prior_estimation.em(logits / temperature, source_of(run)),
            "bbse": prior_estimation.bbse(guesses, confusion_of(run, run.context.federation.seen)),
        }
        for name, own in shares.items():
            with np.errstate(divide="ignore"):
                right = (logits / temperature + np.log(own)).argmax(1) == labels[task.rows]
            found[name].append(right.mean())
    for name, accuracies in found.items():
        assert run.outcome.metrics[f"held_out_{name}"]["mean"] == pytest.approx(np.mean(accuracies))
        assert run.outcome.metrics[f"held_out_{name}"]["clients"] == 2
        assert run.outcome.rounds[-1][f"held_out_{name}_mean"] == pytest.approx(np.mean(accuracies))
    assert "held_out_em_mean" not in run.outcome.rounds[0]


def test_a_method_that_reads_the_prior_predicts_with_the_estimate_as_if_it_were_corrected_by_it():
    """`lda` adds the log prior itself: at temperature 1 the same as correcting `lda:uniform`."""
    plain, uniform = (toy.ran(name, of=shifted(), rounds=1) for name in ("lda", "lda:uniform"))
    one, other = evaluate(plain.context, blind(plain), 7.0), evaluate(uniform.context, blind(uniform), 1.0)
    for name in ("em", "bbse"):
        assert one.scores[name].accuracy.tolist() == other.scores[name].accuracy.tolist()
    assert one.fallbacks == other.fallbacks == {"em": 0, "bbse": 0}
    assert plain.outcome.metrics["held_out_em"]["mean"] == pytest.approx(one.scores["em"].accuracy.mean())


def test_estimated_shares_of_a_clear_case_are_near_the_true_ones_and_raise_the_score():
    run = toy.ran("lda", of=shifted(), rounds=1)
    for task, (logits, labels) in zip(blind(run), predictions(run.context, blind(run)), strict=True):
        truth = np.bincount(toy.dataset().test_y[task.rows], minlength=4) / len(task.rows)
        assert np.bincount(labels, minlength=4).tolist() == (truth * len(task.rows)).tolist()
        assert abs(prior_estimation.em(logits, source_of(run)) - truth).max() < 0.2
    metrics = run.outcome.metrics
    assert metrics["held_out_em"]["mean"] >= metrics["held_out_unlabelled"]["mean"]


def test_the_confusion_matrix_is_that_of_the_held_out_clients_model_on_the_sampled_clients_training_samples():
    run = toy.ran("head", of=toy.federation(clients=6), rounds=1, participation=0.4)
    (sampled,) = [run.context.sampled(1)]
    assert 0 < len(sampled) < len(run.context.federation.seen)
    found = confusion_matrix(run.context, blind(run)[0])
    assert found.tolist() == confusion_of(run, sampled).tolist()


def test_the_confusion_matrix_prefers_validation_samples():
    federation = shifted()
    clients = tuple(replace(client, validation=client.train[:3]) for client in federation.clients)
    run = toy.ran("head", of=replace(federation, clients=clients), rounds=1)
    assert confusion_matrix(run.context, blind(run)[0]).sum() == 6


def test_a_personal_method_is_asked_for_the_model_of_clients_that_never_trained():
    """The local heads of fedper differ; the confusion matrix is that of their mean."""
    run = toy.ran("fedper", of=shifted(), rounds=1)
    (task, _) = blind(run)
    one = confusion_matrix(run.context, task)
    rows = [run.context.federation.clients[k].train for k in run.context.federation.seen]
    pooled = replace(task, rows=np.concatenate(rows))
    ((logits, labels),) = predictions(replace(run.context, test=run.context.train), [pooled])
    expected = np.zeros((4, 4))
    np.add.at(expected, (logits.argmax(1), labels), 1)
    assert one.tolist() == expected.tolist()


def test_without_an_estimate_the_source_prior_is_used_and_counted():
    """`majority` says nothing: EM stays at the source prior, and the confusion matrix is singular."""
    run = toy.ran("majority", of=shifted(), rounds=1)
    frequent = source_of(run).argmax()
    share = np.mean([(toy.dataset().test_y[task.rows] == frequent).mean() for task in blind(run)])
    assert run.outcome.unestimated == {"em": 0, "bbse": 2}
    for name in ("em", "bbse"):
        assert run.outcome.metrics[f"held_out_{name}"]["mean"] == pytest.approx(share)


def test_a_client_without_test_samples_or_with_one_has_a_finite_score_or_none():
    trains = toy.deal_out([[7, 6, 6, 6], [1, 1, 1, 1], [1, 0, 0, 0]], toy.dataset().train_y)
    federation = toy.deal(trains, [[0, 1], [], [5]], held_out=[1, 2])
    for name in ("head", "lda", "posterior"):
        outcome = toy.ran(name, of=federation, rounds=1).outcome
        for estimator in ("em", "bbse"):
            assert outcome.metrics[f"held_out_{estimator}"]["clients"] == 1
            assert outcome.metrics[f"held_out_{estimator}"]["mean"] in (0, 1)
        assert outcome.unestimated["em"] == 1


def test_only_federations_with_held_out_clients_that_the_method_can_score_have_estimates():
    rows = [client.train for client in toy.unequal().clients]
    nobody = toy.ran("head", of=toy.deal(rows, [[0], [1], [2], [3]]), rounds=1).outcome
    for outcome in (nobody, toy.ran("local", of=toy.unequal(), rounds=1).outcome):
        assert not {"held_out_em", "held_out_bbse"} & outcome.metrics.keys()
        assert outcome.unestimated == {}


@pytest.mark.parametrize("name", ["fedvpt", "pep-fedpt"])
def test_estimating_changes_no_other_number(name, monkeypatch):
    with_estimates = toy.ran(name, of=shifted(), rounds=1).outcome
    monkeypatch.setattr(unlabelled, "evaluate", lambda *_: Estimated({}, {}))
    without = toy.ran(name, of=shifted(), rounds=1).outcome
    assert {"held_out_em", "held_out_bbse"} == with_estimates.metrics.keys() - without.metrics.keys()
    assert {group: with_estimates.metrics[group] for group in without.metrics} == without.metrics
    assert with_estimates.layers == without.layers
    assert with_estimates.metrics_prior == without.metrics_prior
    assert repr(with_estimates.clients) == repr(without.clients)


def test_a_client_of_several_passes_keeps_its_samples_together(monkeypatch):
    run = toy.ran("head", of=shifted(), rounds=1)
    whole = predictions(run.context, blind(run))
    monkeypatch.setattr("fedprompt.benchmark.simulation.evaluation.scoring.rows_per_pass", lambda *_: 3)
    for (logits, labels), (other, same) in zip(whole, predictions(run.context, blind(run)), strict=True):
        assert sorted(labels.tolist()) == sorted(same.tolist())
        np.testing.assert_allclose(np.sort(logits, 0), np.sort(other, 0), atol=1e-5)
