"""Callbacks after each round, from reports and from the record."""

import pandas as pd
import pytest

from fedprompt.benchmark.errors import Stopped
from fedprompt.benchmark.scheduling.callbacks import RoundCallbacks
from fedprompt.benchmark.scheduling.progress import ProgressListener
from tests.benchmark.conftest import config

DONE = {"status": "done"}


@pytest.fixture
def run(store):
    """A run of 4 rounds whose record is in the store."""
    run = config(rounds=4)
    (store.directory / run.run_id).mkdir()
    rows = [{"round": number, "train_loss": number / 10} for number in range(5)]
    pd.DataFrame(rows).to_parquet(store.directory / run.run_id / "rounds.parquet")
    return run


def row(number):
    return {"round": number, "train_loss": number / 10}


def called(run, store, steps):
    """The rounds that a function receives, and the losses in them."""
    seen = []
    callbacks = RoundCallbacks(ProgressListener(), seen.append, [run], store)
    for step in steps:
        step(callbacks)
    assert all(found.metrics["train_loss"] == found.number / 10 for found in seen)
    return [found.number for found in seen]


def reported(number, of):
    return lambda callbacks: callbacks.round_done(of.run_id, number, row=row(number))


@pytest.mark.parametrize(
    ("numbers", "result", "expected"),
    [
        ([0, 1, 2, 3, 4], DONE, [0, 1, 2, 3, 4]),
        ([0, 1, 1, 0, 2], DONE, [0, 1, 2, 3, 4]),  # the run was started again after a failure
        ([], DONE, [0, 1, 2, 3, 4]),  # it ended before its reports arrived
        ([], DONE | {"when": {"resumed": [{"after_round": 2}]}}, [3, 4]),
        ([3], DONE | {"when": {"resumed": [{"after_round": 2}]}}, [3, 4]),
        ([0, 1], {"status": "failed"}, [0, 1]),
    ],
)
def test_each_round_is_passed_on_once_and_in_order(numbers, result, expected, run, store):
    steps = [reported(number, run) for number in numbers]
    assert called(run, store, [*steps, lambda callbacks: callbacks.run_done(run.run_id, result)]) == expected


def test_the_start_of_a_run_is_no_round(run, store):
    assert called(run, store, [lambda callbacks: callbacks.round_done(run.run_id, 0)]) == []


def test_after_an_exception_the_function_is_not_called_again(run, store):
    seen = []

    def fail(found):
        seen.append(found.number)
        raise ZeroDivisionError("mine")

    callbacks = RoundCallbacks(ProgressListener(), fail, [run], store)
    with pytest.raises(Stopped) as caught:
        callbacks.round_done(run.run_id, 0, row=row(0))
    assert isinstance(caught.value.error, ZeroDivisionError)
    callbacks.round_done(run.run_id, 1, row=row(1))
    callbacks.run_done(run.run_id, DONE)
    assert seen == [0]


def test_it_names_the_run(run, store):
    seen = []
    RoundCallbacks(ProgressListener(), seen.append, [run], store).round_done(run.run_id, 2, 64, "host:1", row(2))
    (found,) = seen
    assert (found.run_id, found.method, found.dataset, found.seed, found.alpha) == (
        run.run_id, "head", "digits", 0, run.alpha
    )  # fmt: skip
    assert (found.number, found.rounds) == (2, 4)
