"""What plug-ins keep at clients, send and upload, as the simulation carries it."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from fedprompt.benchmark.simulation.executor import Kind
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods import registry
from fedprompt.methods.base import State
from fedprompt.methods.optimiser import ClientContext, Optimiser
from fedprompt.methods.registry import Recipe
from tests import toy
from tests.methods import quadratic
from tests.methods.contract import COHORT, ROUNDS, ran, same

KEEPING = ("scaffold", "feddyn")


@pytest.mark.parametrize("plugin", KEEPING)
def test_only_clients_that_have_trained_keep_anything(plugin: str) -> None:
    run = toy.simulator(f"head+{plugin}", rounds=1, participation=0.5)
    assert run.state.optimiser_local == {}
    run.run()
    assert sorted(run.state.optimiser_local) == run.sample_cohort(1).tolist()


@pytest.mark.parametrize("plugin", KEEPING)
def test_a_client_is_handed_what_it_kept_and_what_the_server_holds_now(plugin: str) -> None:
    run = ran(f"fedvpt+{plugin}").simulator
    for job in run.make_tasks(COHORT, ROUNDS + 1):
        assert same(job.optimiser_local, run.state.optimiser_local[job.client])
        assert all(value.any() for value in job.optimiser_local.values())
    sent = {f"scaffold.{name}": value for name, value in run.state.optimiser_memory[0].items()}
    assert same(run.make_tasks(COHORT, ROUNDS + 1)[0].optimiser_received, sent if plugin == "scaffold" else {})


@pytest.mark.parametrize("plugin", KEEPING)
def test_what_a_client_keeps_is_its_own(plugin: str) -> None:
    """No two clients' tensors are the same memory, and another client with other data changes nothing for this one."""
    tests = [toy.rows_of(0, 1, part="test")] * 2
    ends: list[State] = []
    for other in (toy.rows_of(2), toy.rows_of(3)[:7]):
        run = toy.simulator(
            f"head+{plugin}", of=toy.deal([toy.rows_of(0, 1), other], tests), rounds=1, executor="sequential"
        )
        run.run()
        ends.append(run.state.optimiser_local[0])
        states = [
            *run.state.optimiser_local.values(),
            run.state.optimiser_initial,
            *run.state.optimiser_memory,
            run.state.server.tensors,
        ]
        places = [value.untyped_storage().data_ptr() for state in states for value in state.values()]
        assert len(set(places)) == len(places)
    assert same(*ends)


@pytest.mark.parametrize("kind", ["fused", "threaded"])
def test_however_clients_are_computed_they_keep_the_same(kind: Kind) -> None:
    runs = [
        toy.simulator("pep-fedpt+scaffold+feddyn", of=toy.unequal(), executor=how, threads=2)
        for how in (kind, "sequential")
    ]
    for run in runs:
        run.run()
    one, other = (run.state.optimiser_local for run in runs)
    assert list(one) == list(other) == COHORT
    for client in COHORT:
        assert one[client].keys() == other[client].keys()
        for name, value in one[client].items():
            np.testing.assert_allclose(value, other[client][name], atol=1e-4, rtol=1e-4)


def test_two_plugins_keep_their_tensors_apart() -> None:
    run = toy.simulator("head+scaffold+feddyn", rounds=1)
    run.run()
    kept = next(iter(run.state.optimiser_local.values()))
    assert sorted(kept) == [f"{p}.head.{part}" for p in ("feddyn", "scaffold") for part in ("bias", "weight")]


@pytest.mark.parametrize("plugin", KEEPING)
def test_rows_of_classes_go_with_their_classes(plugin: str) -> None:
    """Client 1 holds classes 0 and 1: it ends with their rows, and they are put among all of them."""
    run = ran(f"pep-fedpt+{plugin}").simulator
    (update,) = toy.learned(run, [1], ROUNDS + 1)
    name = f"{plugin}.class_prompts"
    assert len(update.optimiser_local[name]) == 2
    assert all(len(value) == 2 for key, value in update.optimiser_upload.items() if key == name)
    whole = run.state.optimiser_local[1][name]
    assert whole.shape == run.state.server["class_prompts"].shape
    assert not whole[2:].any()


class Told(Optimiser):
    """Adds nothing, and notes what it is handed."""

    name = "told"
    seen: ClassVar[list[tuple[set[str], set[str]]]] = []

    def adjust_gradients(self, gradients: State, state: State, visit: ClientContext) -> State:
        Told.seen.append((set(gradients), set(visit.received)))
        return gradients


def test_plugins_are_handed_shared_tensors_alone() -> None:
    parent = registry.create("fedrep")  # heads are local, and train in a phase of their own
    plain = toy.simulator("fedrep").context
    data, settings = (plain.train, plain.test, plain.federation, plain.streams), replace(plain.settings, rounds=1)
    run = Simulator(Recipe("fedrep+told", parent.method, (Told(),)), plain.vit, *data, settings)
    Told.seen.clear()
    run.run()
    assert {frozenset(gradients) for gradients, _ in Told.seen} == {frozenset(), frozenset({"prompt"})}
    assert all(received == {"prompt"} for _, received in Told.seen)


def test_first_statistics_do_not_bring_the_plugins_tensors() -> None:
    plain, plugged = (toy.simulator(name, rounds=1).run().rounds[0] for name in ("pep-fedpt", "pep-fedpt+scaffold"))
    assert plain["download_bytes"] == plugged["download_bytes"]


def test_the_quadratic_model_descends_to_the_clients_mean_without_a_plugin() -> None:
    """The helper of the tests by hand: one step of 1/2 from zero halves the way, two leave a quarter of it."""
    run = quadratic.simulator(Told(), rounds=1)
    run.run()
    assert run.state.server["w"].tolist() == pytest.approx([3 / 2, 6 / 2])
