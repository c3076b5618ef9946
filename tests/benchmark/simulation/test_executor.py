"""How cohorts are computed: by every kind, the same; and which kind `auto` comes to."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.hardware import memory
from fedprompt.benchmark.simulation import executor as module
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.executor import Executor, Kind
from fedprompt.benchmark.simulation.local_training import train_clients
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate
from fedprompt.methods.base import Method, State
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.registry import Recipe
from tests import toy

CLIENTS = range(4)


class Alone(FedVPT):
    """A method whose clients cannot train together."""

    not_fusible = "its tokens differ in number"


def started(name: str) -> Simulator:
    return toy.simulator(name)


def trained(executor: Executor, of: Simulator, recipe: Recipe | None = None) -> list[ClientUpdate]:
    jobs = of.make_tasks(CLIENTS, 1)
    return executor.train(recipe or of.context.recipe, of.context.vit, of.context.train, jobs, toy.TRAINING)


def tensors(updates: list[ClientUpdate]) -> list[State]:
    return [{**update.shared, **update.local, **update.statistics} for update in updates]


def close(one: list[ClientUpdate], other: list[ClientUpdate]) -> None:
    """Float sums in another order: near, client by client."""
    assert [update.client for update in one] == [update.client for update in other] == list(CLIENTS)
    for a, b in zip(tensors(one), tensors(other), strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fedvpt", "pvpt", "pep-fedpt"])
def test_threads_change_no_bit_and_keep_the_order(name: str) -> None:
    of = started(name)
    one, many = (trained(Executor(kind, threads), of) for kind, threads in (("sequential", 1), ("threaded", 3)))  # type: ignore[arg-type]
    assert [u.client for u in one] == [u.client for u in many] == list(CLIENTS)
    for a, b in zip(tensors(one), tensors(many), strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert [(u.loss, u.images, u.notes) for u in one] == [(u.loss, u.images, u.notes) for u in many]


@pytest.mark.parametrize("name", ["fedvpt", "pvpt", "pep-fedpt", "head+fedprox"])
def test_a_fused_cohort_ends_as_a_sequential_one(name: str) -> None:
    of = started(name)
    one, fused = trained(Executor("sequential"), of), trained(executor := Executor("fused"), of)
    close(one, fused)
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
def test_a_method_without_backbone_passes_is_fused_of_itself_and_others_are_not_on_a_cpu(
    name: str, threads: int, used: str
) -> None:
    executor = Executor("auto", threads)
    trained(executor, started(name))
    assert (executor.kind, executor.used, executor.notes) == ("auto", used, [])


@pytest.mark.parametrize("kind", ["sequential", "threaded", "fused"])
def test_the_kind_asked_for_is_the_kind_used(kind: Kind) -> None:
    executor = Executor(kind, 2)
    trained(executor, started("head"))
    assert executor.used == kind


@pytest.mark.parametrize(("threads", "used"), [(1, "sequential"), (2, "threaded")])
def test_a_method_that_cannot_be_fused_runs_otherwise_and_the_record_says_why(threads: int, used: str) -> None:
    of, executor = started("fedvpt"), Executor("fused", threads)
    found = trained(executor, of, Recipe("alone", Alone()))
    assert executor.used == used
    assert executor.notes == ["alone cannot run fused: its tokens differ in number"]
    close(found, trained(Executor("sequential"), of))


def test_choosing_leaves_the_batches_of_the_run_as_they_are() -> None:
    """`auto` and `fused` take a step to look at, which must not use up the order that clients draw."""
    of = started("fedvpt")
    jobs = of.make_tasks(CLIENTS, 1)
    states = [job.rng.bit_generator.state for job in jobs]
    plain = train_clients(of.context.recipe, of.context.vit, of.context.train, jobs[:1], toy.TRAINING)
    found = Executor("auto").train(of.context.recipe, of.context.vit, of.context.train, jobs, toy.TRAINING)
    assert torch.equal(found[0].shared["prompt"], plain[0].shared["prompt"])
    assert [job.rng.bit_generator.state for job in jobs] == states


class Narrow:
    """`train_clients` on a machine whose memory holds so many clients."""

    def __init__(self, most: int, error: Exception) -> None:
        self.most, self.error, self.asked = most, error, list[int]()

    def __call__(
        self, recipe: Recipe, vit: Any, samples: Any, jobs: list[ClientTask], training: Any, phases: Any = None
    ) -> list[ClientUpdate]:
        self.asked.append(len(jobs))
        if len(jobs) > self.most:
            raise self.error
        return train_clients(recipe, vit, samples, jobs, training, phases)


REFUSALS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_clients_of_a_pass_and_changes_no_result(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, executor = started("fedvpt"), Executor("fused")
    whole, narrow = trained(Executor("sequential"), of), Narrow(1, error)
    monkeypatch.setattr(module, "train_clients", narrow)
    close(trained(executor, of), whole)
    assert narrow.asked == [1, 4, 2, 1, 1, 1, 1]  # a step of one client to measure, then the cohort
    assert executor.width == 1
    assert executor.notes == [f"out of memory with {n} clients per pass: {n // 2} from then on" for n in (4, 2)]
    narrow.asked.clear()
    close(trained(executor, of), whole)
    assert narrow.asked == [1, 1, 1, 1]  # it remembers


def test_out_of_memory_at_one_client_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    of, executor = started("fedvpt"), Executor("fused", width=4)
    monkeypatch.setattr(module, "train_clients", Narrow(0, MemoryError("no more")))
    with pytest.raises(MemoryError, match="no more"):
        trained(executor, of)
    assert executor.width == 1


def test_another_error_is_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    of, narrow = started("fedvpt"), Narrow(0, RuntimeError("shapes do not fit"))
    monkeypatch.setattr(module, "train_clients", narrow)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        trained(Executor("fused", width=4), of)
    assert narrow.asked == [4]


@pytest.mark.parametrize(("clients", "passes"), [(1, [1, 1, 1, 1]), (2.5, [2, 2]), (3, [3, 1]), (100, [4])])
def test_a_pass_holds_as_many_clients_as_the_memory_takes(
    clients: float, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = started("fedvpt")
    job = of.make_tasks([0], 1)[0]
    with memory.SavedActivations(of.context.vit.model) as kept:
        module._Job(of.context.recipe, of.context.vit, of.context.train, toy.TRAINING, None).one_step(job)
    narrow = Narrow(4, MemoryError())
    monkeypatch.setattr(module, "train_clients", narrow)
    monkeypatch.setattr(module, "memory_budget", lambda _: int(clients * kept.bytes))
    trained(Executor("fused"), of)
    assert narrow.asked == [1, *passes]


def test_those_who_take_equally_many_steps_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [np.arange(n) for n in (5, 30, 6, 28)]
    of = toy.simulator("head", of=toy.deal(rows, [[0]] * 4))
    cohorts: list[list[int]] = []

    def spy(
        recipe: Recipe, vit: Any, samples: Any, jobs: list[ClientTask], training: Any, phases: Any
    ) -> list[ClientUpdate]:
        cohorts.append([job.client for job in jobs])
        return train_clients(recipe, vit, samples, jobs, training)

    monkeypatch.setattr(module, "train_clients", spy)
    updates = trained(Executor("fused", width=2), of)
    assert [sorted(cohort) for cohort in cohorts] == [[1, 3], [0, 2]]
    assert [update.client for update in updates] == [0, 1, 2, 3]


def test_a_first_batch_of_a_client_with_fewer_rows_is_still_measured_full(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Spy(Method):
        def shared(self, vit: FrozenViT, rng: Any) -> State:  # type: ignore[override]
            return {"w": torch.zeros(toy.CLASSES)}

        def logits(self, vit: FrozenViT, batch: Batch, state: State) -> Tensor:  # type: ignore[override]
            sizes.append(batch.width)
            return batch.own(state["w"])

    of = toy.simulator("head", of=toy.deal([[0], [1, 2]], [[0], [1]]))
    jobs = of.make_tasks([0, 1], 1)
    for job in jobs:
        job.state.shared.clear()
        job.state.shared["w"] = torch.zeros(toy.CLASSES)
    Executor("fused").train(Recipe("spy", Spy()), of.context.vit, of.context.train, jobs, toy.TRAINING)
    assert sizes[0] == toy.TRAINING.batch_size
