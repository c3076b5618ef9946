import json
import math
from dataclasses import asdict
from functools import cache

import pytest
import torch
from safetensors.torch import load, save

from fedprompt.benchmark.runs import checkpoint
from fedprompt.benchmark.runs.checkpoint import CheckpointError, CheckpointHeader, pack, restore, unpack
from fedprompt.methods import registry
from tests import toy

EVERY = (*registry.expand(["all"]), "fedvpt+fedavgm", "fedvpt+scaffold", "fedvpt+feddyn", "fedvpt+fedadam")
ROUNDS = 3


def fresh(method, **given):
    return toy.simulator(method, rounds=ROUNDS, participation=0.5, executor="sequential", **given)


@cache  # read only
def undisturbed(method):
    """A run that went through, and its checkpoints after every round."""
    run, kept = fresh(method), list[bytes]()
    run.run(lambda _: kept.append(pack(run, "id", 1.0, [])))
    return run, kept


def numbers(run):
    """All that a run measured but its times."""
    rounds = [{k: v for k, v in row.items() if k != "seconds"} for row in run.outcome.rounds]
    aside = {"train_seconds", "eval_seconds"}
    return json.dumps({k: v for k, v in asdict(run.outcome).items() if k not in aside} | {"rounds": rounds})


def states(run):
    return {**run.state.server.tensors, **run.state.tensors()}


class _StopError(Exception):
    pass


def stop(_):
    raise _StopError


@pytest.mark.parametrize("method", EVERY)
def test_a_run_interrupted_after_every_round_is_as_if_it_never_was(method):
    whole, kept = undisturbed(method)
    assert len(kept) == ROUNDS + 1
    run = fresh(method)
    for number in range(ROUNDS):
        with pytest.raises(_StopError):
            run.run(stop)
        assert run.completed == number
        content = pack(run, "id", 0.0, [])
        run = fresh(method)
        restore(run, *unpack(content, "id"))
    run.run()
    assert numbers(run) == numbers(whole)
    expected = states(whole)
    assert states(run).keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in states(run).items())


def test_a_checkpoint_holds_what_training_moved_and_no_more():
    run, kept = undisturbed("fedper")
    _, tensors = unpack(kept[1], "id")
    first = run.context.cohort(1).tolist()
    prompt = {"server/prompt"}
    assert tensors.keys() == prompt | {f"local/{k}/{name}" for k in first for name in run.state.initial_local}
    nothing = unpack(undisturbed("fedper")[1][0], "id")[1]
    assert nothing == {}


def test_passes_and_the_choice_of_an_executor_go_on():
    run = toy.ran("fedvpt", rounds=1, executor="fused")
    run.executor.width, passes = 2, run.outcome.layers["train"]
    again, short = (toy.simulator("fedvpt", rounds=2, executor="fused") for _ in range(2))
    restore(again, *unpack(pack(run, "id", 0.0, []), "id"))
    assert (again.executor.used, again.executor.width) == ("fused", 2)
    short.executor.halvings = 1  # the attempt before ran out of memory at that width
    restore(short, *unpack(pack(run, "id", 0.0, []), "id"))
    assert (short.executor.used, short.executor.width) == ("fused", None)
    again.run()
    assert again.outcome.layers["train"] == 2 * passes > 0


def content():
    return undisturbed("fedper")[1][2]


@pytest.mark.parametrize("length", [0, 7, 8, 100, 2000, -1])
def test_a_truncated_checkpoint_is_told_of(length):
    with pytest.raises(CheckpointError, match="truncated"):
        unpack(content()[:length], "id")


def test_a_checkpoint_that_was_changed_is_told_of():
    whole = bytearray(content())
    whole[-1] ^= 1
    with pytest.raises(CheckpointError, match="was changed"):
        unpack(bytes(whole), "id")


def test_a_foreign_checkpoint_is_told_of():
    with pytest.raises(CheckpointError, match="belongs to another run, id"):
        unpack(content(), "other")


def changed(edit):
    """A checkpoint whose head and tensors were edited by someone who knows how it is made."""
    whole = content()
    tensors = load(whole)
    length = int.from_bytes(whole[:8], "little")
    head = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"]["head"])
    edit(head, tensors)
    text = json.dumps(head)
    return save(tensors, {"head": text, "digest": checkpoint._digest(text, tensors)})


def test_another_format_is_told_of():
    with pytest.raises(CheckpointError, match="has format 2"):
        unpack(changed(lambda head, _: head.update(format=2)), "id")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda head, tensors: tensors.update({"server/prompt": torch.zeros(3)}), "shape or type: server/prompt"),
        (lambda head, tensors: tensors.update({"server/prompt": tensors["server/prompt"].double()}), "shape or type"),
        (lambda head, tensors: tensors.update({"server/../x": torch.zeros(3)}), "does not have"),
        (lambda head, tensors: tensors.pop(next(k for k in tensors if k.startswith("local"))), "lacks local/"),
        (lambda head, tensors: head["clients"]["local"].append(99), "lacks local/99"),
        (lambda head, tensors: head.update(code="x"), "other code"),
        (lambda head, tensors: head.update(round=1), "does not fit"),
        (lambda head, tensors: head["rounds_trained"].pop(), "does not fit"),
        (lambda head, tensors: head["outcome"].update(rounds=3), "no outcome"),
    ],
)
def test_what_does_not_fit_the_run_is_told_of_and_changes_nothing(edit, reason):
    run = fresh("fedper")
    before = states(run)
    with pytest.raises(CheckpointError, match=reason):
        restore(run, *unpack(changed(edit), "id"))
    assert (run.completed, run.state.local, run.outcome.rounds) == (None, {}, [])
    assert all(run.state.server[name] is value for name, value in before.items())


def test_a_head_with_more_or_less_than_it_should_hold_is_no_checkpoint():
    for edit in (lambda head, _: head.pop("notes"), lambda head, _: head.update(more=1)):
        with pytest.raises(CheckpointError, match="no checkpoint"):
            unpack(changed(edit), "id")
    assert set(CheckpointHeader.model_fields) > {"outcome", "rounds_trained"}


def test_losses_that_are_no_numbers_come_back():
    head, _ = unpack(content(), "id")
    assert math.isnan(head.outcome["rounds"][0]["train_loss"])


def test_the_last_checkpoint_holds_the_rows_by_class():
    whole, kept = undisturbed("pep-fedpt")
    run = fresh("pep-fedpt")
    restore(run, *unpack(kept[-1], "id"))
    assert run.outcome.by_class == whole.outcome.by_class
    assert run.outcome.by_class["mix_weights"]
