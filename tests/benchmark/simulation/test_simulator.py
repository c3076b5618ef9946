"""Rounds of a simulation against federated averaging worked out in numpy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor, Kind
from fedprompt.benchmark.simulation.outcome import Outcome
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.data.federation import Federation
from fedprompt.methods.base import Method, State, hyperparameter
from fedprompt.methods.base import Streams as Generators
from fedprompt.methods.registry import Recipe
from tests import toy

TARGET = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [-1.0, 1.0]])  # by class


class Pull(Method):
    """Two parameters that every sample pulls towards a point of its class: 1/2 |w - target|^2.

    It predicts class 0 where the first is the larger, else class 1, whatever the image.
    """

    def shared(self, vit: FrozenViT, rng: Generators) -> State:  # type: ignore[override]
        return {"w": torch.tensor([0.5, 0.0])}

    def loss(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        target = torch.from_numpy(TARGET).float()[batch.labels]
        return (batch.own(state["w"]) - target).square().sum(1) / 2

    def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        w = batch.own(state["w"])
        return torch.cat([w, torch.full_like(w, -100)], dim=1)


class Own(Pull):
    """The same, kept by each client."""

    personalised = True
    shift: float = hyperparameter(0.0, "where the parameters begin")

    def shared(self, vit: FrozenViT, rng: Generators) -> State:  # type: ignore[override]
        return {}

    def local(self, vit: FrozenViT, rng: Generators) -> State:  # type: ignore[override]
        return {"w": torch.tensor([self.shift, 0.0])}


class Alone(Own):
    """The same, of no use to a client that never trained."""

    held_out = False


ONE_STEP = LocalTraining(epochs=2, batch_size=100, lr=0.2, momentum=0.5, weight_decay=0.1)


def simulate(
    method: Method,
    federation: Federation,
    rounds: int = 2,
    participation: float = 1.0,
    eval_every: int = 1,
    training: LocalTraining = ONE_STEP,
    seed: int = 0,
    executor: Kind = "auto",
) -> Simulator:
    return Simulator(
        Recipe("toy", method),
        toy.vit(),
        toy.train_samples(),
        toy.test_samples(),
        federation,
        RandomStreams("toy", "toy", seed),
        RoundSettings(rounds, participation, eval_every, training),
        Executor(executor),
    )


def pulled(w: np.ndarray, rows: np.ndarray, training: LocalTraining = ONE_STEP) -> tuple[np.ndarray, list[float]]:
    """One client's local epochs, each one step over all of its samples: what it ends with, and its losses."""
    targets, velocity, losses = TARGET[toy.dataset().train_y[rows]], np.zeros(2), []
    for _ in range(training.epochs):
        losses.append(float(((w - targets) ** 2).sum(1).mean() / 2))
        velocity = training.momentum * velocity + (w - targets.mean(0)) + training.weight_decay * w
        w = w - training.lr * velocity
    return w, losses


def three_clients() -> Federation:
    reds, greens, blues = (toy.rows_of(c) for c in range(3))
    tests = [toy.rows_of(0, part="test"), toy.rows_of(0, 1, part="test"), toy.rows_of(2, part="test")]
    return toy.deal([reds[:8], np.concatenate([greens[:2], blues[:2]]), blues[2:10]], tests)


def test_federated_averaging_by_hand() -> None:
    federation = three_clients()
    outcome = (run := simulate(Pull(), federation)).run()
    w, expected_loss = np.array([0.5, 0.0]), []
    for _ in range(2):
        ends, losses = zip(*(pulled(w, client.train) for client in federation.clients), strict=True)
        w = (8 * ends[0] + 4 * ends[1] + 8 * ends[2]) / 20
        expected_loss.append(np.mean([np.mean(steps) for steps in losses]))
    np.testing.assert_allclose(run.state.server["w"].numpy(), w, rtol=1e-5)
    np.testing.assert_allclose([row["train_loss"] for row in outcome.rounds[1:]], expected_loss, rtol=1e-5)
    assert w[0] > w[1]  # so every client predicts class 0
    share = [1.0, len(toy.rows_of(0, part="test")) / len(toy.rows_of(0, 1, part="test")), 0.0]
    assert [row["accuracy"] for row in outcome.clients] == pytest.approx(share)
    assert outcome.metrics["seen"] is not None
    assert outcome.metrics["seen"]["mean"] == pytest.approx(np.mean(share))
    assert outcome.images == 2 * 2 * 20


def test_local_tensors_stay_with_their_clients() -> None:
    federation = three_clients()
    run = simulate(Own(), federation)
    outcome = run.run()
    for k, client in enumerate(federation.clients):
        w = np.zeros(2)
        for _ in range(2):
            w, _ = pulled(w, client.train)
        np.testing.assert_allclose(run.state.local[k]["w"].numpy(), w, rtol=1e-5)
    assert (outcome.upload_bytes, outcome.download_bytes) == (0, 0)
    assert outcome.parameters == {"shared": 0, "local": 2}


def test_a_held_out_client_predicts_with_the_mean_of_the_trained_local_tensors() -> None:
    federation = toy.deal(
        [toy.rows_of(0)[:4], toy.rows_of(1)[:4], toy.rows_of(2)], [toy.rows_of(0, 1, part="test")] * 3, [2]
    )
    run = simulate(Own(), federation, rounds=1)
    run.run()
    ends = [pulled(np.zeros(2), federation.clients[k].train)[0] for k in (0, 1)]
    (subject,) = run.evaluator.tasks(run.state, federation.held_out)
    np.testing.assert_allclose(subject.state.tensors["w"].numpy(), np.mean(ends, axis=0), rtol=1e-5)


def test_before_any_training_every_client_predicts_with_the_initial_tensors() -> None:
    federation = three_clients()
    run = simulate(Own(shift=5.0), federation)
    for subject in run.evaluator.tasks(run.state, np.arange(3)):
        assert subject.state.tensors["w"].tolist() == [5, 0]


def test_a_seen_client_that_has_not_trained_keeps_its_initial_tensors() -> None:
    run = simulate(Own(shift=5.0), three_clients(), rounds=1, participation=0.1)
    run.run()
    trained = int(run.sample_cohort(1)[0])
    for subject in run.evaluator.tasks(run.state, np.arange(3)):
        assert (subject.state.tensors["w"].tolist() == [5, 0]) == (subject.client != trained)


@pytest.mark.parametrize(
    ("rounds", "eval_every", "evaluated"),
    [(5, 2, [0, 2, 4, 5]), (4, 2, [0, 2, 4]), (3, 10, [3]), (3, 3, [3]), (2, 1, [0, 1, 2])],
)
def test_clients_are_evaluated_before_training_every_k_rounds_and_at_the_end(
    rounds: int, eval_every: int, evaluated: list[int]
) -> None:
    told: list[int] = []
    outcome = simulate(Pull(), three_clients(), rounds, eval_every=eval_every).run(told.append)
    assert told == [row["round"] for row in outcome.rounds] == list(range(rounds + 1))
    assert [row["round"] for row in outcome.rounds if "seen_mean" in row] == evaluated
    assert math.isnan(outcome.rounds[0]["train_loss"])
    assert outcome.rounds[-1]["seen_mean"] == outcome.metrics["seen"]["mean"]  # type: ignore[index]


def test_the_first_evaluation_is_of_the_initial_state() -> None:
    outcome = simulate(Pull(), three_clients(), rounds=2, eval_every=1).run()
    share = [1.0, len(toy.rows_of(0, part="test")) / len(toy.rows_of(0, 1, part="test")), 0.0]
    assert outcome.rounds[0]["seen_mean"] == pytest.approx(np.mean(share))  # everyone predicts class 0
    assert outcome.rounds[0]["upload_bytes"] == 0


@pytest.mark.parametrize(("participation", "size"), [(0.01, 1), (0.25, 2), (0.5, 4), (0.8, 6), (1.0, 8)])
def test_a_cohort_is_the_share_asked_for_of_the_seen_clients_and_at_least_one(participation: float, size: int) -> None:
    federation = toy.federation(clients=10, held_out=2)
    run = simulate(Pull(), federation, participation=participation)
    drawn = [run.sample_cohort(number) for number in range(1, 40)]
    for cohort in drawn:
        assert len(cohort) == len(set(cohort.tolist())) == size
        assert cohort.tolist() == sorted(cohort)
        assert set(cohort) <= set(federation.seen)
    assert {int(k) for cohort in drawn for k in cohort} == set(
        federation.seen.tolist()
    )  # in 39 rounds everyone is drawn


def test_held_out_clients_never_train() -> None:
    federation = toy.federation(clients=6, held_out=2)
    outcome = simulate(Pull(), federation, rounds=4, participation=0.5).run()
    for row in outcome.clients:
        assert row["held_out"] == (row["client"] in federation.held_out)
        if row["held_out"]:
            assert row["rounds_trained"] == 0
    assert sum(row["rounds_trained"] for row in outcome.clients) == 4 * 2


def test_never_trained_is_the_share_of_seen_clients_that_no_round_drew() -> None:
    federation = toy.federation(clients=9, held_out=1)
    run = simulate(Pull(), federation, rounds=2, participation=0.25)
    drawn = set(run.sample_cohort(1)) | set(run.sample_cohort(2))
    outcome = run.run()
    assert outcome.never_trained == pytest.approx((8 - len(drawn)) / 8)
    assert outcome.never_trained > 0


def test_a_method_without_a_model_for_them_leaves_held_out_clients_out() -> None:
    federation = toy.federation(clients=6, held_out=2)
    outcome = simulate(Alone(), federation, rounds=1).run()
    assert outcome.metrics["held_out"] is None
    assert outcome.metrics_prior["held_out"] is None
    assert outcome.metrics["seen"]["clients"] == 4  # type: ignore[index]
    assert math.isnan(outcome.rounds[-1]["held_out_mean"])
    for row in outcome.clients:
        assert math.isnan(row["accuracy"]) == row["held_out"]


def test_local_prompts_are_such_a_method() -> None:
    outcome = toy.simulator("local", rounds=1).run()
    assert outcome.metrics["held_out"] is None
    assert outcome.metrics["seen"] is not None


def test_a_client_without_test_samples_is_left_out_of_the_averages() -> None:
    federation = three_clients()
    full = simulate(Pull(), federation, rounds=1).run()
    clients = (replace(federation.clients[0], test=np.empty(0, np.int64)), *federation.clients[1:])
    outcome = simulate(Pull(), replace(federation, clients=clients), rounds=1).run()
    seen, accuracy = outcome.metrics["seen"], [row["accuracy"] for row in full.clients]
    assert seen is not None
    assert seen["clients"] == 2
    assert seen["mean"] == pytest.approx(np.mean(accuracy[1:]))
    assert math.isnan(outcome.clients[0]["accuracy"])
    assert outcome.clients[0]["test_samples"] == 0


def test_traffic_is_the_bytes_of_the_tensors_that_travel() -> None:
    # fedper: 10 prompt tokens of 24 floats are averaged, the head of 4 x 24 + 4 stays; 2 of 4 seen clients a round.
    outcome = toy.simulator("fedper", rounds=3, participation=0.5).run()
    assert outcome.upload_bytes == outcome.download_bytes == 3 * 2 * 10 * 24 * 4
    assert outcome.parameters == {"shared": 240, "local": 100}
    assert [row["upload_bytes"] for row in outcome.rounds] == [n * 2 * 960 for n in range(4)]


def test_statistics_and_memory_travel_too_and_of_class_rows_those_of_a_clients_classes() -> None:
    # pep-fedpt: shared 10 prompt tokens and the head, and a prompt token a class held; down also the centre [24], and
    # prototypes [24] and known [1] a class held; up also a sum [24] and a count [1] a class held. All seen clients
    # upload statistics once before round 1, then 2 a round.
    run = toy.simulator("pep-fedpt", rounds=3, participation=0.5)
    held = dict(enumerate((run.context.federation.counts > 0).sum(1).tolist()))
    assert len({held[int(k)] for k in run.context.federation.seen}) > 1
    drawn = [int(k) for number in (1, 2, 3) for k in run.sample_cohort(number)]
    outcome = run.run()
    dense, first = 4 * (10 * 24 + 4 * 24 + 4), [int(k) for k in run.context.federation.seen]
    up = sum(4 * 25 * held[k] for k in first)
    down = sum(dense + 4 * 24 + 4 * (24 + 25) * held[k] for k in first)
    assert (outcome.rounds[0]["upload_bytes"], outcome.rounds[0]["download_bytes"]) == (up, down)
    assert outcome.upload_bytes == up + sum(dense + 4 * (24 + 25) * held[k] for k in drawn)
    assert outcome.download_bytes == down + sum(dense + 4 * 24 + 4 * (24 + 25) * held[k] for k in drawn)


class Seen(Pull):
    """Notes the batches it is trained on."""

    rate: float = hyperparameter(1.0, "scale of the loss")
    log: tuple[list[list[int]], ...] = ([],)

    def loss(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
        self.log[0].append(batch.rows.tolist())
        return self.rate * super().loss(vit, batch, state)


def test_methods_meet_the_same_cohorts_and_batches() -> None:
    federation = toy.federation(clients=8, held_out=1)
    training = replace(ONE_STEP, batch_size=3)
    logs = []
    for rate, seed in ((1.0, 0), (0.3, 0), (1.0, 1)):
        log: list[list[int]] = []
        simulate(Seen(rate=rate, log=(log,)), federation, participation=0.5, training=training, seed=seed).run()
        logs.append(log)
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_the_registered_methods_meet_the_same_cohorts_and_initial_heads() -> None:
    runs = [toy.simulator(name, participation=0.5) for name in ("fedvpt", "pep-fedpt", "head")]
    for number in (1, 2, 3):
        assert len({tuple(run.sample_cohort(number)) for run in runs}) == 1
    for run in runs[1:]:
        assert torch.equal(run.state.server["head.weight"], runs[0].state.server["head.weight"])


def rows_without_time(outcome: Outcome) -> list[str]:
    return [repr({k: v for k, v in row.items() if k != "seconds"}) for row in outcome.rounds]


@pytest.mark.parametrize("method", ["pep-fedpt", "fedper", "fedvpt+fedavgm"])
def test_the_same_seed_gives_the_same_numbers_with_any_number_of_threads(method: str) -> None:
    outcomes = [toy.simulator(method, seed=1, participation=0.75, threads=threads).run() for threads in (1, 1, 3)]
    for other in outcomes[1:]:
        assert rows_without_time(other) == rows_without_time(outcomes[0])
        assert repr(other.clients) == repr(outcomes[0].clients)
        assert other.metrics == outcomes[0].metrics


def test_another_seed_gives_other_numbers() -> None:
    losses = {toy.simulator("fedvpt", seed=seed, participation=0.5).run().rounds[-1]["train_loss"] for seed in (0, 1)}
    assert len(losses) == 2


def test_a_method_that_reads_the_prior_is_also_scored_without_it() -> None:
    assert toy.simulator("pep-fedpt", rounds=1).run().metrics["held_out_unlabelled"] is not None
    assert "held_out_unlabelled" not in toy.simulator("fedvpt", rounds=1).run().metrics


def test_the_labels_of_an_unlabelled_client_are_not_looked_at() -> None:
    run = toy.simulator("pep-fedpt")
    for subject in run.evaluator.tasks(run.state, run.context.federation.held_out, labelled=False):
        assert subject.counts.tolist() == [0] * toy.CLASSES
    for subject in run.evaluator.tasks(run.state, run.context.federation.held_out):
        assert subject.counts.tolist() == run.context.federation.counts[subject.client].tolist()


def test_a_federation_with_nobody_held_out_has_no_such_metrics() -> None:
    outcome = simulate(Pull(), three_clients(), rounds=1).run()
    assert outcome.metrics["held_out"] is None
    assert math.isnan(outcome.rounds[-1]["held_out_worst"])
