"""Ctrl-C within a round saves the state after the last completed round."""

import json
from dataclasses import asdict

import pytest
import torch

from fedprompt.benchmark.runs import checkpointer, execute
from fedprompt.benchmark.runs.checkpoint import unpack
from fedprompt.benchmark.runs.checkpointer import Checkpointer, Checkpoints
from tests import toy
from tests.benchmark.conftest import config

ROUNDS = 4


def fresh(method):
    return toy.simulator(method, rounds=ROUNDS, participation=0.5, executor="sequential")


def numbers(run):
    rounds = [{k: v for k, v in row.items() if k != "seconds"} for row in run.outcome.rounds]
    outcome = {k: v for k, v in asdict(run.outcome).items() if k not in ("train_seconds", "eval_seconds")}
    return json.dumps(outcome | {"rounds": rounds})


def interrupt(run, number, kept):
    """Runs until Ctrl-C arrives in round `number`, after its clients have trained."""
    each, finish = Checkpointer(run, "id", Checkpoints(None, kept.append)), run._finish_round

    def stop(current, *rest):
        if current == number:
            raise KeyboardInterrupt
        finish(current, *rest)

    run._finish_round = stop
    with pytest.raises(KeyboardInterrupt):
        run.run(each.after_round)
    each.interrupted()


@pytest.mark.parametrize("method", ["fedvpt", "fedper", "pep-fedpt", "fedvpt+scaffold", "fedvpt+fedadam"])
def test_a_run_stopped_within_a_round_continues_from_the_one_before_with_the_same_bits(method, monkeypatch):
    monkeypatch.setattr(checkpointer, "COST_FACTOR", 0)
    whole, run, kept = fresh(method), fresh(method), list[bytes]()
    whole.run()
    interrupt(run, 3, kept)
    (content,) = kept
    again = fresh(method)
    Checkpointer(again, "id", Checkpoints(content)).resume()
    assert again.completed == 2
    again.run()
    assert numbers(again) == numbers(whole)
    expected = whole.state.tensors()
    found = again.state.tensors()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_before_the_first_round_there_is_nothing_to_save():
    run, kept = fresh("fedvpt"), list[bytes]()
    interrupt(run, 0, kept)
    assert kept == []


def test_a_round_that_is_saved_already_is_not_saved_again():
    run, kept = fresh("fedvpt"), list[bytes]()
    each = Checkpointer(run, "id", Checkpoints(None, kept.append, every=0))
    run.run(each.after_round)
    each.interrupted()
    assert [unpack(content, "id")[0].round for content in kept] == list(range(ROUNDS))


def test_ctrl_c_saves_the_run_that_is_under_way(monkeypatch):
    monkeypatch.setattr(checkpointer, "COST_FACTOR", 0)
    one, kept = config(rounds=3), list[bytes]()

    def progress(number, images):
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute.execute(one, progress=progress, checkpoints=Checkpoints(None, kept.append))
    assert [unpack(content, one.run_id)[0].round for content in kept] == [1]
