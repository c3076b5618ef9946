"""Which state, which rows and which labels every score is computed with."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.simulation.evaluation import evaluator
from fedprompt.methods import Method, Optimiser, Phase, registry
from tests import toy
from tests.benchmark.conftest import config
from tests.benchmark.simulation.test_simulator import (
    ONE_STEP,
    LocalPull,
    Pull,
    RecordsBatches,
    pulled,
    simulate,
    three_clients,
)


def accuracy(outcome, client, name="accuracy"):
    return outcome.clients[client][name]


def test_each_evaluation_scores_the_validation_samples_and_the_last_is_the_result():
    record = execute(config(validation=0.2, rounds=3, eval_every=2))
    metric = record.result["metrics"]["validation"]
    assert metric["clients"] == 16
    assert "validation_mean" in record.rounds[-1]
    assert record.rounds[-1]["validation_mean"] == metric["mean"]
    assert [row["round"] for row in record.rounds if "validation_mean" in row] == [0, 2, 3]


def test_without_validation_samples_there_is_no_validation_score():
    record = execute(config())
    assert "validation" not in record.result["metrics"]
    assert all("validation_mean" not in row for row in record.rounds)


class AlwaysRed(Method):
    """Predicts class 0."""

    def phases(self):
        return ()

    def logits(self, vit, batch, state):
        return torch.eye(4)[0].expand(len(batch.labels), 4)


def test_the_validation_score_is_that_of_the_validation_samples():
    federation = toy.deal([toy.rows_of(1)] * 2, [toy.rows_of(1, part="test")] * 2)
    clients = tuple(replace(client, validation=toy.rows_of(0)[:5]) for client in federation.clients)
    metrics = simulate(AlwaysRed(), replace(federation, clients=clients)).run().metrics
    assert metrics["validation"]["mean"] == 1
    assert metrics["seen"]["mean"] == 0


def test_the_result_is_that_of_the_last_round_even_if_an_earlier_one_was_better():
    federation = toy.deal([toy.rows_of(1)], [toy.rows_of(0, part="test")])  # trains class 1, is tested on class 0
    outcome = simulate(Pull(), federation, rounds=3).run()
    assert [row["seen_mean"] for row in outcome.rounds] == [1, 0, 0, 0]
    assert outcome.metrics["seen"]["mean"] == outcome.metrics["trained"]["mean"] == 0


def test_unlabelled_held_out_clients_are_scored_without_their_labels():
    """`majority` knows the class of a labelled client, and predicts class 0 without labels."""
    federation = toy.deal([toy.rows_of(0), toy.rows_of(1)], [toy.rows_of(c, part="test") for c in (0, 1)], [1])
    metrics = toy.simulator("majority", of=federation).run().metrics
    assert metrics["held_out"]["mean"] == 1
    assert metrics["held_out_unlabelled"]["mean"] == 0


def test_the_batch_order_differs_between_rounds_and_between_clients():
    rows = toy.rows_of(0)
    federation = toy.deal([rows, rows], [rows[:3]] * 2)
    method, training = RecordsBatches(log=([],)), replace(ONE_STEP, epochs=1, batch_size=len(rows))
    simulate(method, federation, rounds=2, training=training, executor="sequential", personal_epochs=0).run()
    orders = [tuple(batch) for batch in method.log[0]]
    assert len(orders) == len(set(orders)) == 4
    assert all(sorted(order) == rows.tolist() for order in orders)


def test_trained_clients_are_those_that_a_round_has_sampled_the_same_for_every_method():
    federation, groups = toy.federation(clients=9, held_out=1), []
    for method in (Pull(), AlwaysRed(), LocalPull()):
        run = simulate(method, federation, rounds=2, participation=0.25)
        outcome = run.run()
        groups.append(run.evaluator.groups(run.state, 2))
        names = groups[-1].clients[groups[-1].groups["trained"]]
        assert names.tolist() == run.context.sampled(2).tolist()
        assert set(names.tolist()) == {*run.context.cohort(1), *run.context.cohort(2)}
        assert outcome.metrics["trained"]["clients"] == len(names) < outcome.metrics["seen"]["clients"] == 8
    assert len({tuple(group.groups["trained"].tolist()) for group in groups}) == 1


# ---- Personalised scores


def personal_end(start, rows, epochs):
    """w after so many epochs on all rows in one batch, from the definition of SGD with momentum."""
    return pulled(np.asarray(start, dtype=float), rows, replace(ONE_STEP, epochs=epochs))[0]


def personal_states(run, monkeypatch):
    """The tensors that clients are scored with, by client, of the last call of `score`."""
    states = []
    real = evaluator.score
    monkeypatch.setattr(evaluator, "score", lambda *a: (states.append({t.client: t.state for t in a[3]}), real(*a))[1])
    run.run()
    return states[-1]


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_personalised_score_follows_the_given_epochs_on_the_clients_own_data(epochs, monkeypatch):
    federation = three_clients()
    run = simulate(Pull(), federation, rounds=1, personal_epochs=epochs)
    states = personal_states(run, monkeypatch)
    for k, client in enumerate(federation.clients):
        expected = personal_end(run.state.server["w"], client.train, epochs)
        np.testing.assert_allclose(states[k]["w"].numpy(), expected, rtol=1e-5)
    assert run.outcome.images == {"train": 2 * 20, "fine_tuning": 0, "personal": epochs * 20}


def test_a_personalised_score_starts_from_a_clients_own_tensors_or_from_the_rule_for_others(monkeypatch):
    federation = three_clients()
    clients = (*federation.clients[:2], replace(federation.clients[2], held_out=True))
    run = simulate(LocalPull(), replace(federation, clients=clients), rounds=1, participation=0.5, personal_epochs=1)
    states = personal_states(run, monkeypatch)
    (trained,) = run.context.cohort(1)
    start = run.state.local[int(trained)]["w"]  # also the mean over all trained clients
    for k, client in enumerate(clients):
        np.testing.assert_allclose(states[k]["w"].numpy(), personal_end(start, client.train, 1), rtol=1e-5)


class Bounded(Pull):
    """Pull with a bound on the learning rate of the tensor that trains."""

    def phases(self):
        return (Phase(("w",), max_lr=0.05),)


def test_the_training_before_a_personalised_score_has_the_bound_of_the_phase_that_trains_the_same_tensors(monkeypatch):
    federation = three_clients()
    run = simulate(Bounded(), federation, rounds=1, personal_epochs=2)
    states = personal_states(run, monkeypatch)
    for k, client in enumerate(federation.clients):
        start = np.asarray(run.state.server["w"], dtype=float)
        expected = pulled(start, client.train, replace(ONE_STEP, epochs=2, lr=0.05))[0]
        np.testing.assert_allclose(states[k]["w"].numpy(), expected, rtol=1e-5)


def test_the_learning_rates_before_a_personalised_score_are_multiplied_by_the_factor_bounds_included(monkeypatch):
    federation = three_clients()
    run = simulate(Bounded(), federation, rounds=1, personal_epochs=2, personal_lr_factor=0.5)
    states = personal_states(run, monkeypatch)
    for k, client in enumerate(federation.clients):
        start = np.asarray(run.state.server["w"], dtype=float)
        expected = pulled(start, client.train, replace(ONE_STEP, epochs=2, lr=0.025))[0]
        np.testing.assert_allclose(states[k]["w"].numpy(), expected, rtol=1e-5)


def test_a_method_with_nothing_to_train_has_its_plain_score_as_personalised_score():
    outcome = toy.simulator("fed3r").run()
    assert outcome.metrics["personalised"] == outcome.metrics["seen"]
    assert outcome.metrics["held_out_personalised"] == outcome.metrics["held_out"]
    assert outcome.images == {"train": 0, "fine_tuning": 0, "personal": 0}


def test_without_personal_epochs_there_is_no_personalised_score():
    outcome = simulate(Pull(), three_clients(), personal_epochs=0).run()
    assert "personalised" not in outcome.metrics
    assert all(math.isnan(row["accuracy_personalised"]) for row in outcome.clients)


class Tuned(Pull):
    """Pull that is fine-tuned before it is scored."""

    @property
    def fine_tuning(self):
        return Phase()


def test_a_methods_own_fine_tuning_takes_the_personal_epochs_without_their_factor_or_held_out_clients(monkeypatch):
    federation = three_clients()
    clients = (*federation.clients[:2], replace(federation.clients[2], held_out=True))
    states, real = [], evaluator.score
    monkeypatch.setattr(evaluator, "score", lambda *a: (states.append({t.client: t.state for t in a[3]}), real(*a))[1])
    settings = {"rounds": 1, "eval_every": 5, "personal_epochs": 2, "personal_lr_factor": 0.5}
    run = simulate(Tuned(), replace(federation, clients=clients), **settings)
    outcome, server = run.run(), run.state.server["w"]
    first = states[0]
    for k in (0, 1):
        np.testing.assert_allclose(first[k]["w"].numpy(), personal_end(server, clients[k].train, 2), rtol=1e-5)
    assert torch.equal(first[2]["w"], server)
    assert outcome.images == {"train": 2 * 12, "fine_tuning": 2 * 12, "personal": 2 * 20}


def test_fine_tuning_and_personalised_score_agree_where_they_train_the_same_tensors():
    outcomes = {name: toy.simulator(name).run() for name in ("fedvpt", "fedvpt-ft", "fedbabu", "fedrep")}
    for name in ("fedvpt-ft", "fedbabu", "fedrep"):
        assert outcomes[name].metrics["seen"] == outcomes[name].metrics["personalised"]
    assert outcomes["fedvpt"].metrics["personalised"] == outcomes["fedvpt-ft"].metrics["seen"]


def test_groups_of_clients_in_memory_change_no_score(monkeypatch):
    outcomes = []
    for number in (64, 2):
        monkeypatch.setattr(evaluator, "CLIENTS_AT_ONCE", number)
        outcomes.append(toy.simulator("knn-per").run())
    assert outcomes[0].metrics == outcomes[1].metrics
    assert outcomes[0].temperature == outcomes[1].temperature


def words_of(method, **settings):
    run = toy.simulator(method, settings=settings)
    return run.evaluator.predicts_with(run.state)


def test_the_record_names_what_optimisers_make_clients_predict_with():
    plain, swa, both = (words_of(f"head{added}", swa={"states": 3}) for added in ("", "+swa", "+fedavgm+feddyn+swa"))
    assert plain["seen"] == plain["held_out"] == "the averaged model"
    for group in ("seen", "untrained", "held_out"):
        assert swa[group] == "the averaged model; shared tensors: the average of the server's last 3 states"
        assert both[group] == (
            "the averaged model; shared tensors: the mean of the last cohort's models, "
            "the average of the server's last 3 states"
        )
    assert swa["personalised"] == plain["personalised"]


def test_optimisers_without_effect_on_predictions_are_not_named():
    plain = words_of("head")
    assert words_of("head+fedprox") == plain
    assert words_of("head+swa", swa={"states": 1}) == plain
    assert words_of("head+feddyn", feddyn={"alpha": 0.0}) == plain


def test_a_client_without_a_score_predicts_with_nothing_whatever_the_optimiser(monkeypatch):
    from fedprompt.methods.head import Head

    monkeypatch.setattr(Head, "held_out", False)
    words = words_of("head+swa")
    assert words["held_out"] == words["untrained"] == "nothing: it has no score"


def test_every_optimiser_that_changes_what_clients_predict_with_says_so():
    registry.discover()
    silent = {
        name
        for name, cls in registry.OPTIMISERS.items()
        if (cls.evaluated is not Optimiser.evaluated) != (cls.predicts_with is not Optimiser.predicts_with)
    }
    assert not silent
