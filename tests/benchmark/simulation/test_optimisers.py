"""Tensors that optimisers keep at clients, send and upload."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from fedprompt.benchmark.simulation.optimisers import evaluated
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.methods import Optimiser, State, registry
from fedprompt.methods.registry import Recipe
from tests import toy
from tests.methods import quadratic
from tests.methods.contract import COHORT, ROUNDS, close, ran, same

WITH_CLIENT_TENSORS = pytest.mark.parametrize("optimiser", ["scaffold", "feddyn"])


@WITH_CLIENT_TENSORS
def test_only_clients_that_have_trained_keep_tensors(optimiser):
    run = toy.simulator(f"head+{optimiser}", rounds=1, participation=0.5)
    assert run.state.optimiser_local == {}
    run.run()
    assert sorted(run.state.optimiser_local) == run.context.cohort(1).tolist()


@WITH_CLIENT_TENSORS
def test_a_client_receives_its_own_tensors_and_the_servers_current_ones(optimiser):
    run = ran(f"fedvpt+{optimiser}").simulator
    tasks = run.make_tasks(COHORT, ROUNDS + 1)
    for task in tasks:
        assert same(task.optimiser_local, run.state.optimiser_local[task.client])
        assert all(value.any() for value in task.optimiser_local.values())
    sent = {f"scaffold.{name}": value for name, value in run.state.optimiser_memory[0].items()}
    assert same(tasks[0].optimiser_received, sent if optimiser == "scaffold" else {})


@WITH_CLIENT_TENSORS
def test_the_tensors_of_a_client_do_not_depend_on_other_clients(optimiser):
    """No two tensors share memory, and other data of another client does not change them."""
    tests = [toy.rows_of(0, 1, part="test")] * 2
    ends: list[State] = []
    for other in (toy.rows_of(2), toy.rows_of(3)[:7]):
        federation = toy.deal([toy.rows_of(0, 1), other], tests)
        run = toy.ran(f"head+{optimiser}", of=federation, rounds=1, executor="sequential")
        state = run.state
        ends.append(state.optimiser_local[0])
        at_clients, at_server = state.optimiser_local.values(), state.optimiser_memory
        states = [*at_clients, state.optimiser_initial, *at_server, state.server.tensors]
        addresses = [value.untyped_storage().data_ptr() for tensors in states for value in tensors.values()]
        assert len(set(addresses)) == len(addresses)
    assert same(*ends)


class Shifted(Optimiser):
    """Clients predict with the server's tensors times `factor` plus one."""

    factor: float = 1.0
    name = "shifted"

    def evaluated(self, shared, memory):
        return {name: self.factor * value + 1 for name, value in shared.items()}


def test_clients_predict_with_what_the_optimisers_return_the_last_one_first():
    recipe = Recipe("quadratic", quadratic.Quadratic(), (Shifted(factor=2.0), Shifted(factor=3.0)))
    state = evaluated(recipe, {"w": torch.ones(2)}, [{}, {}])
    assert state["w"].tolist() == [2 * (3 * 1 + 1) + 1] * 2


@pytest.mark.parametrize("kind", ["fused", "threaded"])
def test_every_execution_kind_gives_the_same_tensors(kind):
    ends = []
    for executor in (kind, "sequential"):
        run = toy.ran("pep-fedpt+scaffold+feddyn", of=toy.unequal(), executor=executor, threads=2)
        ends.append(run.state.optimiser_local)
    assert list(ends[0]) == list(ends[1]) == COHORT
    for client in COHORT:
        close(ends[0][client], ends[1][client], tolerance=1e-4)


def test_the_tensors_of_two_optimisers_have_different_names():
    run = toy.ran("head+scaffold+feddyn", rounds=1)
    tensors = next(iter(run.state.optimiser_local.values()))
    assert sorted(tensors) == [f"{p}.head.{part}" for p in ("feddyn", "scaffold") for part in ("bias", "weight")]


@WITH_CLIENT_TENSORS
def test_class_rows_of_optimiser_tensors_contain_only_the_clients_classes(optimiser):
    """Client 1 has classes 0 and 1: training returns their rows, and the stored table has zeros for the others."""
    run = ran(f"pep-fedpt+{optimiser}").simulator
    (update,) = toy.learned(run, [1], ROUNDS + 1)
    name = f"{optimiser}.class_prompts"
    assert len(update.optimiser_local[name]) == 2
    assert all(len(value) == 2 for key, value in update.optimiser_upload.items() if key == name)
    table = run.state.optimiser_local[1][name]
    assert table.shape == run.state.server["class_prompts"].shape
    assert not table[2:].any()


class Spy(Optimiser):
    """Changes nothing; records the names of the tensors that it receives."""

    name = "spy"
    seen: ClassVar[list[tuple[set[str], set[str]]]] = []

    def adjust_gradients(self, gradients, state, visit):
        Spy.seen.append((set(gradients), set(visit.received)))
        return gradients


def test_optimisers_receive_only_shared_tensors():
    method = registry.create("fedrep").method  # heads are local and train in their own phase
    context = toy.simulator("fedrep").context
    data, settings = (context.train, context.test, context.federation), replace(context.settings, rounds=1)
    Spy.seen.clear()
    Simulator(Recipe("fedrep+spy", method, (Spy(),)), context.vit, *data, context.streams, settings).run()
    assert {frozenset(gradients) for gradients, _ in Spy.seen} == {frozenset(), frozenset({"prompt"})}
    assert all(received == {"prompt"} for _, received in Spy.seen)


def test_optimiser_tensors_are_not_sent_with_the_initial_statistics():
    plain, optimised = (toy.simulator(name, rounds=1).run().rounds[0] for name in ("pep-fedpt", "pep-fedpt+scaffold"))
    assert plain["download_bytes"] == optimised["download_bytes"]


def test_the_quadratic_model_approaches_the_mean_of_the_clients_targets():
    """Checks the helper of the tests by hand: each step of 1/2 halves the distance, so two leave a quarter."""
    run = quadratic.simulator(Spy(), rounds=1)
    run.run()
    assert run.state.server["w"].tolist() == pytest.approx([3 / 2, 6 / 2])
