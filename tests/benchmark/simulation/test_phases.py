"""Phases of local training: which batches they see and how often, and what a method moves beside the steps."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from fedprompt.benchmark.simulation.local_training import train_clients
from fedprompt.benchmark.simulation.tasks import ClientUpdate, LocalTraining
from fedprompt.methods.base import Phase, State
from fedprompt.methods.registry import Recipe
from tests import toy
from tests.benchmark.simulation.test_local_training import Linear, job
from tests.methods.contract import same

TRAINING = LocalTraining(epochs=2, batch_size=4, lr=0.1, momentum=0.9, weight_decay=0.0)
PLAIN = Recipe("linear", Linear())
ROWS = list(range(10))


def trained(phases: Sequence[Phase], training: LocalTraining = TRAINING, rows: Sequence[int] = ROWS) -> ClientUpdate:
    (update,) = train_clients(PLAIN, toy.vit(), toy.train_samples(), [job(0, list(rows))], training, phases)
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
def test_images_of_a_clients_training_are_told_beforehand(phases: list[Phase], images: int) -> None:
    """Ten samples in batches of 4, 4 and 2, for two epochs."""
    assert TRAINING.images(phases, 10) == images
    assert trained(phases).images == images


def test_a_phase_of_one_batch_learns_from_the_first_rows_of_the_clients_order_alone() -> None:
    first = job(0, ROWS).rng.permutation(ROWS)[:4].tolist()
    one, alone = trained([Phase(batches=1)]), trained([Phase(epochs=1)], rows=first)
    torch.testing.assert_close(one.shared, alone.shared)
    assert not torch.equal(one.shared["weight"], trained([Phase(batches=2)]).shared["weight"])


def test_steps_are_repeated_on_each_batch() -> None:
    """Three steps on a batch of all rows are three epochs of it."""
    training = replace(TRAINING, batch_size=16)
    repeated, epochs = trained([Phase(epochs=1, repeats=3)], training), trained([Phase(epochs=3)], training)
    torch.testing.assert_close(repeated.shared, epochs.shared)
    assert repeated.images == epochs.images == 30


def test_a_phase_that_rewinds_sees_the_rounds_first_batches_again() -> None:
    """Where the first phase stands still, the second starts from where it would alone."""
    weight = trained([Phase(("weight",))]).shared["weight"]
    still = Phase(("shift",), lr=0.0)
    assert torch.equal(trained([still, Phase(("weight",), rewind=True)]).shared["weight"], weight)
    assert not torch.equal(trained([still, Phase(("weight",))]).shared["weight"], weight)


class Counting(Linear):
    """Trains its shift alone, and adds one to its weight for every batch."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(("shift",), repeats=3),)

    def after_batch(self, state: State) -> State:
        return {"weight": state["weight"] + 1}


@pytest.mark.parametrize("together", [True, False])
def test_a_method_settles_once_a_batch_for_the_clients_that_still_have_one(together: bool) -> None:
    """Clients of 10, 3 and 7 samples have 6, 2 and 4 batches; what they received stays as it was."""
    jobs = [job(0, ROWS), job(1, [20, 21, 22]), job(2, list(range(30, 37)))]
    jobs = [
        replace(one, state=replace(one.state, shared=jobs[0].state.shared)) for one in jobs
    ]  # as a server sends it: one tensor for all
    before = {key: value.clone() for key, value in jobs[0].state.shared.items()}
    arguments = (Recipe("counting", Counting()), toy.vit(), toy.train_samples())
    groups = [jobs] if together else [[one] for one in jobs]
    updates = [update for group in groups for update in train_clients(*arguments, group, TRAINING)]
    for update, batches in zip(updates, (6, 2, 4), strict=True):
        torch.testing.assert_close(update.shared["weight"], before["weight"] + batches)
        assert not torch.equal(update.local["shift"], jobs[0].state.local["shift"])
    assert same(jobs[0].state.shared, before)


class Clamped(Linear):
    """Keeps the shift that it trains between -0.1 and 0.1."""

    def after_batch(self, state: State) -> State:
        return {"shift": state["shift"].clamp(-0.1, 0.1)}


def test_a_trained_tensor_that_is_settled_goes_on_from_there() -> None:
    """Some of its four numbers are within the limits after one batch, and are elsewhere after the next."""
    recipe = Recipe("clamped", Clamped())
    one, two = (
        train_clients(
            recipe, toy.vit(), toy.train_samples(), [job(0, ROWS)], TRAINING, (Phase(("shift",), batches=n),)
        )[0]
        for n in (1, 2)
    )
    assert one.local["shift"].abs().max() == two.local["shift"].abs().max() == pytest.approx(0.1)
    assert not torch.equal(one.local["shift"], two.local["shift"])
    assert not torch.equal(one.local["shift"].abs(), torch.full((4,), 0.1)), "all were clamped: the test shows nothing"


@pytest.mark.parametrize("name", ["fedrep", "ditto", "apfl", "pfedme"])
def test_the_rows_that_a_run_will_train_on_are_told_beforehand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples are told of them, so that they know what is worth keeping."""
    simulator = toy.simulator(name, of=toy.unequal(), participation=2 / 3)
    told: list[int] = []
    monkeypatch.setattr(simulator.context.train, "expect", told.append)
    assert simulator.run().images == told[0] > 0
