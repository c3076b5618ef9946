"""Compares local training with plain PyTorch, for one client and for several in one pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedprompt.benchmark.simulation import batch as batches
from fedprompt.benchmark.simulation.local_training import collect_statistics, train_clients
from fedprompt.benchmark.simulation.tasks import ClientState, ClientTask, LocalTraining
from fedprompt.methods import Method, Phase
from fedprompt.methods.optimisers.fedprox import FedProx
from fedprompt.methods.registry import Recipe
from tests import toy

TRAINING = LocalTraining(epochs=2, batch_size=4, lr=0.1, momentum=0.9, weight_decay=0.1)
TrainedPhase = tuple[tuple[str, ...], int, float]
"""(tensors, epochs, learning rate)"""
BOTH: TrainedPhase = ("weight", "shift"), 2, 0.1
TEN = range(10)


class Linear(Method):
    """A linear head with a shared weight and a local shift; the shift has no weight decay."""

    no_decay = ("shift",)

    def logits(self, vit, batch, state):
        logits = batch.linear(vit.features(batch), state["weight"], state["shift"])
        batch.log("top", logits.max(1).values)
        return logits


class Staged(Linear):
    """Trains the weight for two epochs, then the shift for three epochs with ten times the learning rate."""

    def phases(self):
        return (Phase(("weight",), epochs=2), Phase(("shift",), epochs=3, lr=1.0))


STAGES: tuple[TrainedPhase, ...] = (("weight",), 2, 0.1), (("shift",), 3, 1.0)


class Sums(Linear):
    """Uploads the number of samples and the sum of their features for each of a client's classes."""

    class_rows = ("sum", "count")

    def statistics(self, vit, batch, state):
        features = vit.features(batch)
        return {"sum": batch.class_sums(features), "count": batch.class_sums(torch.ones(len(features), 1))}


class ClassBias(Linear):
    """Adds a bias per class, of which clients train only the rows of their own classes; uploads sums per class."""

    class_rows = ("bias", "sum")

    def logits(self, vit, batch, state):
        logits = super().logits(vit, batch, state)
        return logits.scatter_add(1, batch.own(batch.classes), batch.own(state["bias"] * batch.info.valid))

    def statistics(self, vit, batch, state):
        return {"sum": batch.class_sums(vit.features(batch))}


def task(client, rows, seed=None):
    rng = torch.Generator().manual_seed(client)
    shared = {"weight": torch.randn(toy.CLASSES, toy.vit().dim, generator=rng) / 5}
    local = {"shift": torch.randn(toy.CLASSES, generator=rng)}
    return ClientTask(
        client=client,
        rows=np.array(rows),
        counts=np.bincount(toy.dataset().train_y[list(rows)], minlength=toy.CLASSES),
        state=ClientState(shared, {}, local),
        rng=np.random.default_rng(client if seed is None else seed),
    )


def train(method, *tasks, training=TRAINING, phases=None, optimisers=()):
    recipe = Recipe("toy", method, optimisers)
    return train_clients(recipe, toy.vit(), toy.train_samples(), tasks, training, phases)


def sgd(groups, rate):
    return torch.optim.SGD(groups, rate, momentum=0.9)


def reference(task, *phases, mu=0.0, clip=None, decay=0.1, optimizer=sgd):
    """Trains in plain PyTorch; returns the tensors and the loss of each step. `mu` weights a FedProx penalty."""
    state = {name: value.clone().requires_grad_() for name, value in task.state.items()}
    bias, present = state.get("bias", torch.zeros(toy.CLASSES)), torch.from_numpy(task.counts > 0)
    start, losses, samples = task.state["weight"], [], toy.train_samples()
    order = np.random.default_rng(task.client)
    for names, epochs, rate in phases:
        groups = [{"params": [state[name]], "weight_decay": 0.0 if name == "shift" else decay} for name in names]
        optimiser = optimizer(groups, rate)
        for rows in [r for _ in range(epochs) for r in torch.from_numpy(order.permutation(task.rows)).split(4)]:
            logits = samples.features(rows) @ state["weight"].T + state["shift"] + bias * present
            loss = functional.cross_entropy(logits, samples.labels[rows])
            losses.append(loss.item())
            optimiser.zero_grad()
            (loss + mu / 2 * (state["weight"] - start).square().sum()).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_([state[name] for name in names], clip)
            optimiser.step()
    return {name: value.detach() for name, value in state.items()}, losses


def assert_close(update, state, losses=None):
    torch.testing.assert_close(update.shared["weight"], state["weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(update.local["shift"], state["shift"], rtol=1e-4, atol=1e-5)
    assert losses is None or update.loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_one_client_trains_like_torch_sgd():
    client = task(0, TEN)  # batches of 4, 4 and 2
    (update,) = train(Linear(), client)
    assert_close(update, *reference(client, BOTH))
    assert update.images == 20
    assert update.samples == 10
    assert update.classes.tolist() == sorted(set(toy.dataset().train_y[:10]))


class Faster(Linear):
    """The shift has a learning rate of its own, in all phases."""

    learning_rates = {"shift": 0.3}


@pytest.mark.parametrize("phases", [None, [Phase(epochs=2, lr=0.2)]])
def test_a_tensor_with_its_own_learning_rate_trains_like_one_with_another_run_lr(phases):
    """Over one step, in which the tensors do not affect each other."""
    client = task(0, range(4))
    one_step = replace(TRAINING, epochs=1)
    phases = phases and [replace(phase, epochs=1) for phase in phases]
    (update,) = train(Faster(), client, training=one_step, phases=phases)
    weight, _ = reference(client, (("weight",), 1, 0.2 if phases else 0.1))
    shift, _ = reference(client, (("shift",), 1, 0.3))
    torch.testing.assert_close(update.shared["weight"], weight["weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(update.local["shift"], shift["shift"], rtol=1e-4, atol=1e-5)


def halved(*phases: TrainedPhase) -> list[TrainedPhase]:
    """The phases with half of their learning rates."""
    return [(names, epochs, rate / 2) for names, epochs, rate in phases]


def test_the_factor_of_a_round_multiplies_the_rates_of_the_run_of_phases_and_of_tensors():
    half = replace(TRAINING, lr_factor=0.5)
    assert_close(*train(Linear(), task(0, TEN), training=half), *reference(task(0, TEN), *halved(BOTH)))
    assert_close(*train(Staged(), task(0, TEN), training=half), *reference(task(0, TEN), *halved(*STAGES)))
    slower = type("Slower", (Faster,), {"learning_rates": {"shift": 0.15}})()
    (update,), (expected,) = (
        train(method, task(0, TEN), training=training)
        for method, training in ((Faster(), half), (slower, replace(TRAINING, lr=TRAINING.lr / 2)))
    )
    assert torch.equal(update.local["shift"], expected.local["shift"])
    assert torch.equal(update.shared["weight"], expected.shared["weight"])


def test_clients_in_one_pass_train_as_each_does_alone():
    """A client that has finished no longer changes, in spite of its momentum and weight decay."""
    clients = [task(0, range(3)), task(1, range(5, 30)), task(2, range(40, 45))]
    updates = train(Linear(), *clients)
    assert [update.client for update in updates] == [0, 1, 2]
    assert [update.images for update in updates] == [2 * 3, 2 * 25, 2 * 5]
    for update, client in zip(updates, clients, strict=True):
        assert_close(update, *reference(client, BOTH))


@pytest.mark.parametrize("limit", [0.05, 0.5, 1e6])
def test_the_gradient_of_each_client_is_clipped_by_its_norm_over_all_tensors(limit):
    clients = [task(0, range(9)), task(1, range(20, 26))]
    updates = train(Linear(), *clients, training=replace(TRAINING, clip_norm=limit))
    for update, client in zip(updates, clients, strict=True):
        assert_close(update, reference(client, BOTH, clip=limit)[0])


def test_clipping_bounds_the_length_of_a_step_and_keeps_shorter_steps():
    one_step = LocalTraining(epochs=1, batch_size=60, lr=0.5, momentum=0.9, weight_decay=0.0)
    client = task(0, range(20))

    def gradient_norm(limit):
        (update,) = train(Linear(), client, training=replace(one_step, clip_norm=limit))
        after = {**update.shared, **update.local}
        moved = torch.cat([(after[name] - value).flatten() for name, value in client.state.items()])
        return float(moved.norm()) / one_step.lr

    norm = gradient_norm(None)
    assert gradient_norm(norm / 4) == pytest.approx(norm / 4, rel=1e-4)
    assert gradient_norm(norm * 4) == pytest.approx(norm, rel=1e-6)


def test_phases_set_the_trained_tensors_the_epochs_and_the_learning_rate():
    (update,) = train(Staged(), task(0, TEN))
    assert_close(update, *reference(task(0, TEN), *STAGES))
    assert update.images == 5 * 10


def test_a_tensor_that_no_phase_trains_keeps_its_bits():
    class ShiftOnly(Linear):
        def phases(self):
            return (Phase(("shift",)),)

    client = task(0, TEN)
    (update,) = train(ShiftOnly(), client)
    assert torch.equal(update.shared["weight"], client.state["weight"])
    assert not torch.equal(update.local["shift"], client.state["shift"])


def test_a_phase_that_trains_an_unknown_tensor_is_an_error():
    class Unknown(Linear):
        def phases(self):
            return (Phase(("prompt",)),)

    with pytest.raises(ValueError, match=r"prompt.*weight.*shift"):
        train(Unknown(), task(0, [0, 1]))


@pytest.mark.parametrize(("method", "phases"), [(Linear(), [BOTH]), (Staged(), STAGES)])
def test_a_proximal_penalty_affects_only_training_and_only_shared_tensors(method, phases):
    (update,) = train(method, task(0, TEN), optimisers=(FedProx(mu=0.7),))
    assert_close(update, reference(task(0, TEN), *phases, mu=0.7)[0])


def test_training_does_not_change_the_received_tensors():
    client = task(0, TEN)
    before = {name: value.clone() for name, value in client.state.items()}
    train(Linear(), client)
    for name, value in client.state.items():
        assert torch.equal(value, before[name])
        assert not value.requires_grad


def test_training_does_not_change_the_generators_of_the_tasks():
    clients = [task(0, TEN), task(1, range(20, 23))]
    before = [client.rng.bit_generator.state for client in clients]
    first, again = train(Linear(), *clients), train(Linear(), *clients)
    assert [client.rng.bit_generator.state for client in clients] == before
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.shared["weight"], other.shared["weight"])


def test_a_loss_that_is_not_finite_raises_an_error_with_the_client_and_the_remedy():
    class Unstable(Linear):
        def loss(self, vit, batch, state):
            reds = batch.own(batch.counts)[:, 0]  # 0 * log 0 is not a number
            return super().loss(vit, batch, state) + 0 * reds.log()

    with pytest.raises(FloatingPointError, match=r"client 7 is not finite.*--lr 0\.1"):
        train(Unstable(), task(3, toy.rows_of(0, 1)), task(7, toy.rows_of(1, 2)))


def test_diagnostics_are_means_over_the_steps_of_each_client():
    class Constant(Linear):
        def logits(self, vit, batch, state):
            batch.log("share", batch.own(batch.prior)[:, 0])
            return super().logits(vit, batch, state)

    reds, greens = toy.rows_of(0)[:9], toy.rows_of(1)[:3]
    updates = train(Constant(), task(0, reds), task(1, [reds[0], *greens]))
    assert [update.notes["share"] for update in updates] == [1.0, 0.25]


@pytest.mark.parametrize("tokens", [10**6, 0])  # 0: sixteen samples per pass
def test_statistics_include_all_samples_of_a_client_for_every_size_of_a_pass(tokens, monkeypatch):
    monkeypatch.setattr(batches, "TOKENS_PER_PASS", {"cpu": tokens})
    clients, samples = [task(0, range(40)), task(1, [41, 45, 50])], toy.train_samples()
    statistics = collect_statistics(Recipe("toy", Sums()), toy.vit(), samples, clients)
    for client, sums in zip(clients, statistics, strict=True):
        classes = np.flatnonzero(client.counts)
        assert sums["count"][:, 0].tolist() == client.counts[classes].tolist()
        for c, value in zip(classes, sums["sum"], strict=True):
            rows = torch.from_numpy(np.intersect1d(client.rows, toy.rows_of(c)))
            torch.testing.assert_close(value, samples.features(rows).sum(0), rtol=1e-4, atol=1e-4)


def test_statistics_are_computed_before_training_and_sent_with_the_update():
    class Weights(Linear):
        def statistics(self, vit, batch, state):
            return {"seen": state["weight"] * batch.mask.view(batch.clients, -1).sum(1).view(-1, 1, 1)}

    client = task(0, TEN)
    (update,) = train(Weights(), client)
    torch.testing.assert_close(update.statistics["seen"], 10 * client.state["weight"])


def test_a_method_without_statistics_uploads_none():
    assert collect_statistics(Recipe("toy", Linear()), toy.vit(), toy.train_samples(), [task(0, [0])]) == [{}]


def test_the_batches_depend_only_on_the_generator_and_the_rows():
    seen: dict[str, list[list[int]]] = {"a": [], "b": []}

    class Spy(Linear):
        key: str = "a"

        def logits(self, vit, batch, state):
            seen[self.key].append(batch.rows.tolist())
            return super().logits(vit, batch, state)

    train(Spy(key="a"), task(0, TEN, seed=9))
    train(Spy(key="b"), task(1, TEN, seed=9), training=replace(TRAINING, lr=0.5))
    assert seen["a"] == seen["b"]
    for epoch in (seen["a"][:3], seen["a"][3:]):
        assert sorted(row for batch in epoch for row in batch) == list(TEN)
        assert [len(batch) for batch in epoch] == [4, 4, 2]


def test_server_memory_is_used_in_training_but_not_trained():
    class Shifted(Linear):
        def memory(self, vit, rng):
            return {"offset": torch.zeros(toy.CLASSES)}

        def logits(self, vit, batch, state):
            return super().logits(vit, batch, state) + batch.own(state["offset"])

    plain = task(0, TEN)
    shift, local = plain.state["shift"], {"shift": torch.zeros(toy.CLASSES)}
    (update,) = train(Shifted(), replace(plain, state=ClientState(plain.state.shared, {"offset": shift}, local)))
    (expected,) = train(Linear(), plain)
    torch.testing.assert_close(update.shared["weight"], expected.shared["weight"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(update.local["shift"] + shift, expected.local["shift"])
    assert "offset" not in update.shared.keys() | update.local.keys()


def test_rows_of_a_clients_own_classes_train_as_in_a_full_table():
    """The reference is a full layer in plain PyTorch that masks the rows of absent classes."""
    clients = [task(0, toy.rows_of(1, 3)), task(1, toy.rows_of(0, 1, 2))]
    for client in clients:
        client.state.shared["bias"] = torch.tensor([0.5, -0.5, 1.0, 2.0])
    updates = train(ClassBias(), *clients, training=replace(TRAINING, weight_decay=0.0))
    for update, client in zip(updates, clients, strict=True):
        classes = np.flatnonzero(client.counts).tolist()
        full, _ = reference(client, (("weight", "shift", "bias"), 2, 0.1), decay=0.0)
        assert_close(update, full)
        torch.testing.assert_close(update.shared["bias"], full["bias"][classes], rtol=1e-4, atol=1e-5)
        assert update.statistics["sum"].shape == (len(classes), toy.vit().dim)
        assert update.classes.tolist() == classes


@pytest.mark.parametrize("samples", [0, 1, 7, 8, 20])
@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3, 5, 100])
@pytest.mark.parametrize("size", [1, 8, 10**9])
def test_images_are_those_of_the_batches_one_by_one(samples, limit, size):
    batches = [min(size, samples - start) for start in range(0, samples, size)] * 3
    expected = 2 * sum(batches[:limit])
    training, phase = LocalTraining(epochs=3, batch_size=size, lr=0.1), Phase(repeats=2, batches=limit)
    assert training.images([phase], samples) == expected
