"""Phases of local training: their batches, the repeats of a batch, and `after_batch`."""

from dataclasses import replace

import pytest
import torch

from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods import Phase
from tests import toy
from tests.benchmark.simulation.test_local_training import Linear, task, train
from tests.methods.contract import same

TRAINING = LocalTraining(epochs=2, batch_size=4, lr=0.1, momentum=0.9, weight_decay=0.0)
ROWS = range(10)


def trained(phases, training=TRAINING, rows=ROWS):
    (update,) = train(Linear(), task(0, rows), training=training, phases=phases)
    return update


@pytest.mark.parametrize(
    ("phases", "images"),
    [
        ([Phase()], 20),
        ([Phase(epochs=3)], 30),
        ([Phase(batches=1)], 4),
        ([Phase(batches=3)], 10),
        ([Phase(batches=4)], 14),
        ([Phase(batches=99)], 20),
        ([Phase(batches=1, repeats=5)], 20),
        ([Phase(repeats=2), Phase(rewind=True)], 60),
        ([], 0),
    ],
)
def test_the_number_of_training_images_is_known_before_training(phases, images):
    """Ten samples in batches of 4, 4 and 2, for two epochs."""
    assert TRAINING.images(phases, 10) == images
    assert trained(phases).images == images


def test_a_phase_of_one_batch_trains_only_on_the_first_rows_of_the_clients_order():
    first = task(0, ROWS).rng.permutation(ROWS)[:4].tolist()
    one, alone = trained([Phase(batches=1)]), trained([Phase(epochs=1)], rows=first)
    torch.testing.assert_close(one.shared, alone.shared)
    assert not torch.equal(one.shared["weight"], trained([Phase(batches=2)]).shared["weight"])


def test_repeats_take_consecutive_steps_on_each_batch():
    """Three steps on a batch of all rows equal three epochs."""
    training = replace(TRAINING, batch_size=16)
    repeated, epochs = trained([Phase(epochs=1, repeats=3)], training), trained([Phase(epochs=3)], training)
    torch.testing.assert_close(repeated.shared, epochs.shared)
    assert repeated.images == epochs.images == 30


def test_a_phase_that_rewinds_starts_from_the_first_batch_of_the_round():
    """After a first phase with learning rate 0, a rewound phase gives the same result as alone."""
    weight = trained([Phase(("weight",))]).shared["weight"]
    no_change = Phase(("shift",), lr=0.0)
    assert torch.equal(trained([no_change, Phase(("weight",), rewind=True)]).shared["weight"], weight)
    assert not torch.equal(trained([no_change, Phase(("weight",))]).shared["weight"], weight)


class Counting(Linear):
    """Trains only the shift; adds one to the weight after every batch."""

    def phases(self):
        return (Phase(("shift",), repeats=3),)

    def after_batch(self, state):
        return {"weight": state["weight"] + 1}


@pytest.mark.parametrize("together", [True, False])
def test_after_batch_runs_once_per_batch_for_clients_with_batches_left(together):
    """Clients of 10, 3 and 7 samples have 6, 2 and 4 batches. They receive the same tensors, which do not change."""
    tasks = [task(0, ROWS), task(1, range(20, 23)), task(2, range(30, 37))]
    shared, shift = tasks[0].state.shared, tasks[0].state["shift"]
    tasks = [replace(one, state=replace(one.state, shared=shared)) for one in tasks]
    before = {name: value.clone() for name, value in shared.items()}
    groups = [tasks] if together else [[one] for one in tasks]
    updates = [update for group in groups for update in train(Counting(), *group, training=TRAINING)]
    for update, batches in zip(updates, (6, 2, 4), strict=True):
        torch.testing.assert_close(update.shared["weight"], before["weight"] + batches)
        assert not torch.equal(update.local["shift"], shift)
    assert same(shared, before)


class Clamped(Linear):
    """Keeps the trained shift between -0.1 and 0.1."""

    def after_batch(self, state):
        return {"shift": state["shift"].clamp(-0.1, 0.1)}


def test_training_continues_from_a_tensor_changed_by_after_batch():
    """Some of the four values are within the limits after one batch, and differ after the next."""
    one, two = (
        train(Clamped(), task(0, ROWS), training=TRAINING, phases=[Phase(("shift",), batches=n)])[0].local["shift"]
        for n in (1, 2)
    )
    assert one.abs().max() == two.abs().max() == pytest.approx(0.1)
    assert not torch.equal(one, two)
    assert not torch.equal(one.abs(), torch.full((4,), 0.1)), "all values were clamped, so the test proves nothing"


@pytest.mark.parametrize("name", ["fedrep", "ditto", "apfl", "pfedme"])
def test_a_run_announces_the_number_of_training_reads_up_to_the_size_of_the_split(name, monkeypatch):
    """The samples use the number to decide what to cache, for which more reads than rows make no difference."""
    simulator = toy.simulator(name, of=toy.unequal(), participation=2 / 3)
    announced: list[int] = []
    monkeypatch.setattr(simulator.context.train, "expect", lambda reads, _: announced.append(reads))
    trained = sum(simulator.run().images.values())
    calibrated = sum(len(simulator.context.federation.clients[k].train) for k in simulator.context.sampled(2))
    reads, rows = trained + calibrated, len(simulator.context.train)
    assert announced[0] <= reads
    assert min(announced[0], rows) == min(reads, rows)


def test_a_run_announces_the_rows_of_all_its_clients(monkeypatch):
    """Samples for validation are rows of the training split, too."""
    federation = toy.unequal()
    client = federation.clients[0]
    clients = (replace(client, train=client.train[:-2], validation=client.train[-2:]), *federation.clients[1:])
    simulator = toy.simulator("head", of=replace(federation, clients=clients))
    announced = {}
    for part in ("train", "test"):
        samples = getattr(simulator.context, part)
        monkeypatch.setattr(samples, "expect", lambda _, rows, part=part: announced.update({part: sorted(rows)}))
    simulator.run()
    assert set(announced) == {"train", "test"}
    for part, found in announced.items():
        assert found == sorted(row for client in federation.clients for row in getattr(client, part))


@pytest.mark.parametrize(
    ("name", "options", "group"),
    [
        ("fedvpt", {}, "sampled"),
        ("fedvpt", {"personal_epochs": 1}, "all"),  # each client trains before its personalised score
        ("fedvpt", {"standardize": "features"}, "seen"),  # they send statistics before round 1
        ("fedvpt-ft", {"settings": {"fedvpt-ft": {"tune_epochs": 1}}}, "seen"),  # they train before each score
        ("fedncm", {}, "seen"),
        ("knn-per", {}, "all"),  # each client compares with its own samples
    ],
)
def test_a_run_announces_only_the_training_rows_that_it_reads(name, options, group, monkeypatch):
    simulator = toy.simulator(name, participation=0.25, **{"personal_epochs": 0} | options)
    announced: list[list[int]] = []
    monkeypatch.setattr(simulator.context.train, "expect", lambda _, rows: announced.append(sorted(rows)))
    federation = simulator.context.federation
    everyone = list(range(len(federation.clients)))
    groups = {"sampled": simulator.context.sampled(2).tolist(), "seen": federation.seen.tolist(), "all": everyone}
    assert 0 < len(groups["sampled"]) < len(groups["seen"]) < len(everyone)
    simulator.announce_reads()
    assert announced == [sorted(row for k in groups[group] for row in federation.clients[k].train)]
