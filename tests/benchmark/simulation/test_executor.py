"""All execution kinds give the same updates, and `auto` chooses the expected kind."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedprompt.benchmark.hardware import memory
from fedprompt.benchmark.simulation import executor as module
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.local_training import train_clients
from fedprompt.methods import Method
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.registry import Recipe
from tests import toy

CLIENTS = range(4)


class Unfusible(FedVPT):
    """A method whose clients cannot train in one pass."""

    not_fusible = "its tokens differ in number"


class LimitedMemory:
    """`train_clients` on a machine whose memory fits `limit` clients. Records the clients of each pass."""

    def __init__(self, limit, error):
        self.limit, self.error, self.passes = limit, error, list[list[int]]()

    @property
    def sizes(self):
        return [len(clients) for clients in self.passes]

    def __call__(self, *arguments):
        self.passes.append([task.client for task in arguments[3]])
        if self.sizes[-1] > self.limit:
            raise self.error
        return train_clients(*arguments)


def limit_memory(monkeypatch, limit, error=None):
    monkeypatch.setattr(module, "train_clients", limited := LimitedMemory(limit, error or MemoryError("no more")))
    return limited


def train(executor, simulator, recipe=None):
    context, tasks = simulator.context, simulator.make_tasks(CLIENTS, 1)
    return executor.train(recipe or context.recipe, context.vit, context.train, tasks, toy.TRAINING)


def paired_tensors(one, other):
    """The tensors of both cohorts' updates in pairs; all four clients must be present, in order."""
    assert [update.client for update in one] == [update.client for update in other] == list(CLIENTS)
    first, second = ([{**u.shared, **u.local, **u.statistics} for u in updates] for updates in (one, other))
    return [(a[name], b[name]) for a, b in zip(first, second, strict=True) for name in a]


def assert_close(one, other):
    """Allows for float sums in a different order."""
    for a, b in paired_tensors(one, other):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fedvpt", "pvpt", "pep-fedpt"])
def test_threads_give_the_same_bits_in_the_same_order(name):
    simulator = toy.simulator(name)
    one, many = train(Executor("sequential", 1), simulator), train(Executor("threaded", 3), simulator)
    assert all(torch.equal(a, b) for a, b in paired_tensors(one, many))
    assert [(u.loss, u.images, u.notes) for u in one] == [(u.loss, u.images, u.notes) for u in many]


@pytest.mark.parametrize("name", ["fedvpt", "pvpt", "pep-fedpt", "head+fedprox"])
def test_a_fused_cohort_gives_the_same_updates_as_a_sequential_one(name):
    simulator, executor = toy.simulator(name), Executor("fused")
    one, fused = train(Executor("sequential"), simulator), train(executor, simulator)
    assert_close(one, fused)
    assert [u.samples for u in one] == [u.samples for u in fused]
    assert executor.summary() == {"asked": "fused", "used": "fused", "fused_clients": 4, "notes": []}


@pytest.mark.parametrize(
    ("name", "threads", "used"),
    [
        ("head", 1, "fused"),
        ("head", 3, "fused"),
        ("fedvpt", 1, "sequential"),
        ("fedvpt", 3, "threaded"),
        ("pep-fedpt:no-shared", 3, "threaded"),
    ],
)
def test_auto_on_a_cpu_fuses_only_methods_without_backbone_passes(name, threads, used):
    executor = Executor("auto", threads)
    train(executor, toy.simulator(name))
    assert (executor.kind, executor.used, executor.notes) == ("auto", used, [])


@pytest.mark.parametrize("kind", ["sequential", "threaded", "fused"])
def test_the_requested_kind_is_used(kind):
    executor = Executor(kind, 2)
    train(executor, toy.simulator("head"))
    assert executor.used == kind


@pytest.mark.parametrize(("threads", "used"), [(1, "sequential"), (2, "threaded")])
def test_a_method_that_cannot_be_fused_uses_another_kind_and_the_record_says_why(threads, used):
    simulator, executor = toy.simulator("fedvpt"), Executor("fused", threads)
    updates = train(executor, simulator, Recipe("alone", Unfusible()))
    assert executor.used == used
    assert executor.notes == ["alone cannot run fused: its tokens differ in number"]
    assert_close(updates, train(Executor("sequential"), simulator))


def test_the_steps_that_choose_a_kind_do_not_change_the_batches_of_the_run():
    simulator = toy.simulator("fedvpt")
    context, tasks = simulator.context, simulator.make_tasks(CLIENTS, 1)
    states = [task.rng.bit_generator.state for task in tasks]
    plain = train_clients(context.recipe, context.vit, context.train, tasks[:1], toy.TRAINING)
    chosen = Executor("auto").train(context.recipe, context.vit, context.train, tasks, toy.TRAINING)
    assert torch.equal(chosen[0].shared["prompt"], plain[0].shared["prompt"])
    assert [task.rng.bit_generator.state for task in tasks] == states


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_clients_per_pass_and_changes_no_result(error, monkeypatch):
    simulator, executor = toy.simulator("fedvpt"), Executor("fused")
    expected, limited = train(Executor("sequential"), simulator), limit_memory(monkeypatch, 1, error)
    assert_close(train(executor, simulator), expected)
    assert limited.sizes == [1, 4, 2, 1, 1, 1, 1]  # a step of one client to measure, then the cohort
    assert executor.width == 1
    assert executor.notes == [f"out of memory with {n} clients per pass: {n // 2} from then on" for n in (4, 2)]
    limited.passes.clear()
    assert_close(train(executor, simulator), expected)
    assert limited.sizes == [1, 1, 1, 1]  # the width is kept


def test_out_of_memory_with_one_client_is_raised(monkeypatch):
    executor = Executor("fused", width=4)
    limit_memory(monkeypatch, 0)
    with pytest.raises(MemoryError, match="no more"):
        train(executor, toy.simulator("fedvpt"))
    assert executor.width == 1


def test_another_error_is_not_treated_as_out_of_memory(monkeypatch):
    limited = limit_memory(monkeypatch, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(Executor("fused", width=4), toy.simulator("fedvpt"))
    assert limited.sizes == [4]


@pytest.mark.parametrize(("clients", "passes"), [(1, [1, 1, 1, 1]), (2.5, [2, 2]), (3, [3, 1]), (100, [4])])
def test_a_pass_contains_as_many_clients_as_fit_into_memory(clients, passes, monkeypatch):
    simulator = toy.simulator("fedvpt")
    context = simulator.context
    with memory.SavedActivations(context.vit.model) as saved:
        job = module._Job(context.recipe, context.vit, context.train, toy.TRAINING, None)
        job.one_step(simulator.make_tasks([0], 1)[0])
    limited = limit_memory(monkeypatch, 4)
    monkeypatch.setattr(module, "memory_budget", lambda _: int(clients * saved.bytes))
    train(Executor("fused"), simulator)
    assert limited.sizes == [1, *passes]


def test_clients_with_equally_many_steps_are_fused_together(monkeypatch):
    federation = toy.deal([np.arange(n) for n in (5, 30, 6, 28)], [[0]] * 4)
    limited = limit_memory(monkeypatch, 4)
    updates = train(Executor("fused", width=2), toy.simulator("head", of=federation))
    assert [sorted(clients) for clients in limited.passes] == [[1, 3], [0, 2]]
    assert [update.client for update in updates] == [0, 1, 2, 3]


@pytest.mark.parametrize(("batch_size", "measured"), [(1, 1), (2, 2), (3, 3), (4, 3), (10**9, 3)])
def test_memory_is_measured_with_a_batch_of_the_largest_client_and_never_more_rows_than_it_has(batch_size, measured):
    sizes: list[int] = []

    class Spy(Method):
        def shared(self, vit, rng):
            return {"w": torch.zeros(toy.CLASSES)}

        def logits(self, vit, batch, state):
            sizes.append(batch.width)
            return batch.own(state["w"])

    simulator = toy.simulator("head", of=toy.deal([[0], [1, 2, 3]], [[0], [1]]))
    context, tasks = simulator.context, simulator.make_tasks([0, 1], 1)
    for task in tasks:
        task.state.shared.clear()
        task.state.shared["w"] = torch.zeros(toy.CLASSES)
    training = replace(toy.TRAINING, batch_size=batch_size)
    Executor("fused").train(Recipe("spy", Spy()), context.vit, context.train, tasks, training)
    assert sizes[0] == measured


@pytest.mark.parametrize("kind", ["auto", "fused"])
def test_a_batch_size_far_above_the_data_takes_no_longer_and_trains_on_all_rows(kind):
    simulator = toy.simulator("fedvpt")
    context, tasks = simulator.context, simulator.make_tasks(CLIENTS, 1)
    updates = [
        Executor(kind).train(context.recipe, context.vit, context.train, tasks, replace(toy.TRAINING, batch_size=size))
        for size in (60, 10**12)
    ]
    assert all(torch.equal(a, b) for a, b in paired_tensors(*updates))


@pytest.mark.parametrize(("halvings", "width"), [(0, 4), (1, 2), (2, 1), (9, 1)])
def test_every_attempt_that_was_out_of_memory_halves_the_clients_of_a_pass(halvings, width):
    run = toy.simulator("fedvpt", of=toy.federation(clients=4, held_out=0))
    executor = Executor("fused", halvings=halvings)
    train(executor, run)
    assert executor.width == width
    assert len(executor.notes) == (halvings > 0)
