"""Compares rounds of a simulation with federated averaging computed in NumPy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods import Method, hyperparameter
from fedprompt.methods.registry import Recipe
from tests import toy

TARGETS = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [-1.0, 1.0]])
"""Per class."""


class Pull(Method):
    """Two shared parameters w with the loss 1/2 |w - target of the sample's class|^2.

    Predicts class 0 if the first parameter is larger, else class 1, for every image.
    """

    def shared(self, vit, rng):
        return {"w": torch.tensor([0.5, 0.0])}

    def loss(self, vit, batch, state):
        target = torch.from_numpy(TARGETS).float()[batch.labels]
        return (batch.own(state["w"]) - target).square().sum(1) / 2

    def logits(self, vit, batch, state):
        w = batch.own(state["w"])
        return torch.cat([w, torch.full_like(w, -100)], dim=1)


class LocalPull(Pull):
    """Pull with local parameters."""

    personalised = True
    shift: float = hyperparameter(0.0, "initial value of the first parameter")

    def shared(self, vit, rng):
        return {}

    def local(self, vit, rng):
        return {"w": torch.tensor([self.shift, 0.0])}


class SeenOnly(LocalPull):
    """LocalPull without predictions for held-out clients."""

    held_out = False


ONE_STEP = LocalTraining(epochs=2, batch_size=100, lr=0.2, momentum=0.5, weight_decay=0.1)


def simulate(
    method,
    federation,
    rounds=2,
    participation=1.0,
    eval_every=1,
    training=ONE_STEP,
    seed=0,
    executor="auto",
    personal_epochs=1,
    **settings,
):
    data, streams = (toy.train_samples(), toy.test_samples()), RandomStreams("toy", "toy", seed)
    chosen = RoundSettings(rounds, participation, eval_every, training, personal_epochs, min_test=1, **settings)
    return Simulator(Recipe("toy", method), toy.vit(), *data, federation, streams, chosen, Executor(executor))


def pulled(w, rows, training=ONE_STEP):
    """Parameters and losses of a client's local training, with one step on all of its samples per epoch."""
    targets, velocity, losses = TARGETS[toy.dataset().train_y[rows]], np.zeros(2), []
    for _ in range(training.epochs):
        losses.append(float(((w - targets) ** 2).sum(1).mean() / 2))
        velocity = training.momentum * velocity + (w - targets.mean(0)) + training.weight_decay * w
        w = w - training.lr * velocity
    return w, losses


def three_clients():
    """Seen clients with 8, 4 and 8 training samples of class 0, of classes 1 and 2, and of class 2."""
    reds, greens, blues = (toy.rows_of(c) for c in range(3))
    tests = [toy.rows_of(*classes, part="test") for classes in ([0], [0, 1], [2])]
    return toy.deal([reds[:8], np.concatenate([greens[:2], blues[:2]]), blues[2:10]], tests)


def shares_of_class_0():
    """Accuracy of each of the three clients if class 0 is predicted for every sample."""
    return [float((toy.dataset().test_y[client.test] == 0).mean()) for client in three_clients().clients]


def test_rounds_match_federated_averaging_computed_by_hand():
    federation = three_clients()
    outcome = (run := simulate(Pull(), federation)).run()
    w, expected_loss = np.array([0.5, 0.0]), []
    for _ in range(2):
        ends, losses = zip(*(pulled(w, client.train) for client in federation.clients), strict=True)
        w = (8 * ends[0] + 4 * ends[1] + 8 * ends[2]) / 20
        expected_loss.append(np.mean(losses))
    np.testing.assert_allclose(run.state.server["w"].numpy(), w, rtol=1e-5)
    np.testing.assert_allclose([row["train_loss"] for row in outcome.rounds[1:]], expected_loss, rtol=1e-5)
    assert w[0] > w[1]  # so class 0 is predicted for every client
    assert [row["accuracy"] for row in outcome.clients] == pytest.approx(shares_of_class_0())
    assert outcome.metrics["seen"] is not None
    assert outcome.metrics["seen"]["mean"] == pytest.approx(np.mean(shares_of_class_0()))
    assert outcome.images == {"train": 2 * 2 * 20, "fine_tuning": 0, "personal": 20}


def test_a_cosine_schedule_lowers_the_rates_of_rounds_but_not_of_fine_tuning(monkeypatch):
    """Of two rounds, the second has half of the rate: (1 + cos(pi / 2)) / 2."""
    factors, train = [], Executor.train

    def recorded(self, recipe, vit, samples, tasks, training, *rest):
        factors.append(training.lr_factor)
        return train(self, recipe, vit, samples, tasks, training, *rest)

    monkeypatch.setattr(Executor, "train", recorded)
    run = simulate(Pull(), three_clients(), training=replace(ONE_STEP, lr_schedule="cosine"))
    run.run()
    w = np.array([0.5, 0.0])
    for factor in (1, 0.5):
        training = replace(ONE_STEP, lr=factor * ONE_STEP.lr)
        ends = [pulled(w, client.train, training)[0] for client in three_clients().clients]
        w = (8 * ends[0] + 4 * ends[1] + 8 * ends[2]) / 20
    np.testing.assert_allclose(run.state.server["w"].numpy(), w, rtol=1e-5)
    assert factors[:2] == pytest.approx([1, 0.5])
    assert set(factors[2:]) == {1}  # of the personalised scores


def test_local_tensors_stay_with_their_clients():
    federation = three_clients()
    outcome = (run := simulate(LocalPull(), federation)).run()
    for k, client in enumerate(federation.clients):
        w = np.zeros(2)
        for _ in range(2):
            w, _ = pulled(w, client.train)
        np.testing.assert_allclose(run.state.local[k]["w"].numpy(), w, rtol=1e-5)
    assert (outcome.upload_bytes, outcome.download_bytes) == (0, 0)
    assert outcome.parameters == {"shared": 0, "local": 2}


def test_a_held_out_client_predicts_with_the_mean_of_the_trained_local_tensors():
    trains = [toy.rows_of(0)[:4], toy.rows_of(1)[:4], toy.rows_of(2)]
    federation = toy.deal(trains, [toy.rows_of(0, 1, part="test")] * 3, held_out=[2])
    run = simulate(LocalPull(), federation, rounds=1)
    run.run()
    ends = [pulled(np.zeros(2), rows)[0] for rows in trains[:2]]
    (task,) = run.evaluator.tasks(run.state, federation.held_out)
    np.testing.assert_allclose(task.state["w"].numpy(), np.mean(ends, axis=0), rtol=1e-5)


def test_before_training_every_client_predicts_with_the_initial_tensors():
    run = simulate(LocalPull(shift=5.0), three_clients())
    for task in run.evaluator.tasks(run.state, np.arange(3)):
        assert task.state["w"].tolist() == [5, 0]


def test_a_client_that_never_trained_predicts_with_the_rule_for_held_out_clients_seen_or_not():
    federation = three_clients()
    clients = (*federation.clients[:2], replace(federation.clients[2], held_out=True))
    run = simulate(LocalPull(shift=5.0), replace(federation, clients=clients), rounds=1, participation=0.1)
    run.run()
    (trained,) = run.context.cohort(1)
    own = pulled(np.array([5.0, 0.0]), federation.clients[trained].train)[0]
    for task in run.evaluator.tasks(run.state, np.arange(3)):
        np.testing.assert_allclose(task.state["w"].numpy(), own, rtol=1e-5)  # the mean over one trained client


@pytest.mark.parametrize(
    ("rounds", "eval_every", "evaluated"),
    [(5, 2, [0, 2, 4, 5]), (4, 2, [0, 2, 4]), (3, 10, [3]), (3, 3, [3]), (2, 1, [0, 1, 2])],
)
def test_clients_are_evaluated_before_training_every_k_rounds_and_at_the_end(rounds, eval_every, evaluated):
    reported: list[int] = []
    outcome = simulate(Pull(), three_clients(), rounds, eval_every=eval_every).run(reported.append)
    assert reported == [row["round"] for row in outcome.rounds] == list(range(rounds + 1))
    assert [row["round"] for row in outcome.rounds if "seen_mean" in row] == evaluated
    assert math.isnan(outcome.rounds[0]["train_loss"])
    assert outcome.rounds[-1]["seen_mean"] == outcome.metrics["seen"]["mean"]


def test_the_first_evaluation_uses_the_initial_state():
    first = simulate(Pull(), three_clients(), rounds=2, eval_every=1).run().rounds[0]
    assert first["seen_mean"] == pytest.approx(np.mean(shares_of_class_0()))  # all predictions are class 0
    assert first["upload_bytes"] == 0


@pytest.mark.parametrize(("participation", "size"), [(0.01, 1), (0.25, 2), (0.3125, 3), (0.5, 4), (0.8, 6), (1.0, 8)])
def test_a_cohort_is_the_requested_share_of_the_seen_clients_and_at_least_one(participation, size):
    federation = toy.federation(clients=10, held_out=2)
    run = simulate(Pull(), federation, participation=participation)
    cohorts = [run.context.cohort(number).tolist() for number in range(1, 40)]
    for cohort in cohorts:
        assert len(cohort) == len(set(cohort)) == size
        assert cohort == sorted(cohort)
        assert set(cohort) <= set(federation.seen.tolist())
    assert {k for cohort in cohorts for k in cohort} == set(federation.seen.tolist())  # 39 rounds sample every client


def test_held_out_clients_never_train():
    federation = toy.federation(clients=6, held_out=2)
    outcome = simulate(Pull(), federation, rounds=4, participation=0.5).run()
    for row in outcome.clients:
        assert row["held_out"] == (row["client"] in federation.held_out)
        if row["held_out"]:
            assert row["rounds_trained"] == 0
    assert sum(row["rounds_trained"] for row in outcome.clients) == 4 * 2


def test_never_trained_is_the_share_of_seen_clients_that_no_round_sampled():
    run = simulate(Pull(), toy.federation(clients=9, held_out=1), rounds=2, participation=0.25)
    sampled = {*run.context.cohort(1), *run.context.cohort(2)}
    assert run.run().never_trained == pytest.approx((8 - len(sampled)) / 8)
    assert run.outcome.never_trained > 0


def test_held_out_clients_have_no_results_if_the_method_has_no_model_for_them():
    outcome = simulate(SeenOnly(), toy.federation(clients=6, held_out=2), rounds=1).run()
    assert outcome.metrics["held_out"] is None
    assert outcome.metrics_prior["held_out"] is None
    assert outcome.metrics["seen"]["clients"] == 4
    assert math.isnan(outcome.rounds[-1]["held_out_mean"])
    for row in outcome.clients:
        assert math.isnan(row["accuracy"]) == row["held_out"]
    assert outcome.unscored == {"seen": 0, "held_out": 2}


def test_a_method_without_a_rule_scores_only_clients_that_trained_and_counts_the_others():
    run = simulate(SeenOnly(), toy.federation(clients=6, held_out=2), rounds=1, participation=0.5)
    outcome, sampled = run.run(), run.context.sampled(1).tolist()
    assert outcome.unscored == {"seen": 2, "held_out": 2}
    assert [row["client"] for row in outcome.clients if not math.isnan(row["accuracy"])] == sampled
    for group in ("seen", "trained", "personalised"):
        assert outcome.metrics[group]["clients"] == 2


def test_local_prompts_have_no_model_for_held_out_clients():
    outcome = toy.simulator("local", rounds=1).run()
    assert outcome.metrics["held_out"] is None
    assert outcome.metrics["seen"] is not None


def test_a_client_without_test_samples_is_excluded_from_the_averages():
    federation = three_clients()
    accuracy = [row["accuracy"] for row in simulate(Pull(), federation, rounds=1).run().clients]
    clients = (replace(federation.clients[0], test=np.empty(0, np.int64)), *federation.clients[1:])
    outcome = simulate(Pull(), replace(federation, clients=clients), rounds=1).run()
    seen = outcome.metrics["seen"]
    assert seen["clients"] == 2
    assert seen["mean"] == pytest.approx(np.mean(accuracy[1:]))
    assert math.isnan(outcome.clients[0]["accuracy"])
    assert outcome.clients[0]["test_samples"] == 0


def test_traffic_is_the_size_of_the_tensors_sent():
    # fedper: 10 prompt tokens of 24 floats are averaged, the head (4 x 24 + 4) is local; 2 of 4 seen clients per round.
    outcome = toy.simulator("fedper", rounds=3, participation=0.5).run()
    assert outcome.upload_bytes == outcome.download_bytes == 3 * 2 * 10 * 24 * 4
    assert outcome.parameters == {"shared": 240, "local": 100}
    assert [row["upload_bytes"] for row in outcome.rounds] == [n * 2 * 960 for n in range(4)]


def test_traffic_includes_statistics_and_memory_and_only_the_class_rows_of_a_client():
    # pep-fedpt: 10 prompt tokens and the head are shared, and one prompt token per class of the client. Download adds
    # the centre [24], and a prototype [24] and a flag [1] per class; upload adds a sum [24] and a count [1] per class.
    # All seen clients upload statistics once before round 1; then two clients train per round.
    run = toy.simulator("pep-fedpt", rounds=3, participation=0.5)
    federation = run.context.federation
    classes = (federation.counts > 0).sum(1)
    assert len(set(classes[federation.seen].tolist())) > 1
    sampled = [k for number in (1, 2, 3) for k in run.context.cohort(number)]
    outcome, dense = run.run(), 4 * (10 * 24 + 4 * 24 + 4)
    up = int((4 * 25 * classes[federation.seen]).sum())
    down = int((dense + 4 * 24 + 4 * (24 + 25) * classes[federation.seen]).sum())
    assert (outcome.rounds[0]["upload_bytes"], outcome.rounds[0]["download_bytes"]) == (up, down)
    assert outcome.upload_bytes == up + (dense + 4 * (24 + 25) * classes[sampled]).sum()
    assert outcome.download_bytes == down + (dense + 4 * 24 + 4 * (24 + 25) * classes[sampled]).sum()


class RecordsBatches(Pull):
    """Records the training batches."""

    rate: float = hyperparameter(1.0, "scale of the loss")
    log: tuple[list[list[int]], ...] = ([],)

    def loss(self, vit, batch, state):
        self.log[0].append(batch.rows.tolist())
        return self.rate * super().loss(vit, batch, state)


def test_cohorts_and_batches_depend_on_the_seed_but_not_on_the_method():
    federation, training = toy.federation(clients=8, held_out=1), replace(ONE_STEP, batch_size=3)
    logs = []
    for rate, seed in ((1.0, 0), (0.3, 0), (1.0, 1)):
        method = RecordsBatches(rate=rate, log=([],))
        simulate(method, federation, participation=0.5, training=training, seed=seed).run()
        logs.append(method.log[0])
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_registered_methods_have_the_same_cohorts_and_initial_heads():
    runs = [toy.simulator(name, participation=0.5) for name in ("fedvpt", "pep-fedpt", "head")]
    for number in (1, 2, 3):
        assert len({tuple(run.context.cohort(number)) for run in runs}) == 1
    for run in runs[1:]:
        assert torch.equal(run.state.server["head.weight"], runs[0].state.server["head.weight"])


def rows_without_time(outcome):
    return [repr({k: v for k, v in row.items() if k != "seconds"}) for row in outcome.rounds]


@pytest.mark.parametrize("method", ["pep-fedpt", "fedper", "fedvpt+fedavgm"])
def test_the_same_seed_gives_the_same_numbers_with_any_number_of_threads(method):
    outcomes = [toy.simulator(method, seed=1, participation=0.75, threads=threads).run() for threads in (1, 1, 3)]
    for other in outcomes[1:]:
        assert rows_without_time(other) == rows_without_time(outcomes[0])
        assert repr(other.clients) == repr(outcomes[0].clients)
        assert other.metrics == outcomes[0].metrics


def test_another_seed_gives_other_numbers():
    losses = {toy.simulator("fedvpt", seed=seed, participation=0.5).run().rounds[-1]["train_loss"] for seed in (0, 1)}
    assert len(losses) == 2


def test_only_a_method_that_uses_the_prior_is_also_scored_without_labels():
    assert toy.simulator("pep-fedpt", rounds=1).run().metrics["held_out_unlabelled"] is not None
    assert "held_out_unlabelled" not in toy.simulator("fedvpt", rounds=1).run().metrics


def test_the_class_counts_of_an_unlabelled_client_are_zero():
    run = toy.simulator("pep-fedpt")
    federation = run.context.federation
    for task in run.evaluator.tasks(run.state, federation.held_out, labelled=False):
        assert task.counts.tolist() == [0] * toy.CLASSES
    for task in run.evaluator.tasks(run.state, federation.held_out):
        assert task.counts.tolist() == federation.counts[task.client].tolist()


def test_a_federation_without_held_out_clients_has_no_held_out_metrics():
    outcome = simulate(Pull(), three_clients(), rounds=1).run()
    assert outcome.metrics["held_out"] is None
    assert math.isnan(outcome.rounds[-1]["held_out_worst"])


def test_sampled_clients_are_those_of_all_rounds_and_no_further_round_is_drawn_once_all_are(monkeypatch):
    run = toy.simulator("head", of=toy.federation(clients=9, held_out=1), participation=0.25)
    context = run.context
    for rounds in range(6):
        expected = sorted({client for past in range(1, rounds + 1) for client in context.cohort(past).tolist()})
        assert context.sampled(rounds).tolist() == expected
    assert context.sampled(10**9).tolist() == context.federation.seen.tolist()
