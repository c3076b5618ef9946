"""The federated simulation: rounds of local training and combination, evaluation of every client, byte counts."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation import optimiser_hooks as plugins
from fedprompt.benchmark.simulation.datastore import remembers
from fedprompt.benchmark.simulation.evaluator import Evaluator
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.local_training import (
    ClientTask,
    ClientUpdate,
    LocalTraining,
    collect,
    images_trained,
)
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.scoring import Subject
from fedprompt.benchmark.simulation.stacking import among_all, size, whole
from fedprompt.data.federation import Federation
from fedprompt.methods.base import State, Uploads
from fedprompt.methods.errors import MethodError
from fedprompt.methods.registry import Recipe

WARM_COHORT = 256  # clients whose first statistics are held at a time


@dataclass(frozen=True)
class RoundSettings:
    """How a federation is run: rounds, clients a round (a share of the seen ones), rounds between evaluations.

    After the last round held-out clients are also scored after `adapt_epochs` local epochs; 0: they are not.
    """

    rounds: int
    participation: float
    eval_every: int
    training: LocalTraining
    executor: Executor = field(default_factory=Executor)
    adapt_epochs: int = 0

    @property
    def evaluated(self) -> tuple[int, ...]:
        """The rounds after which everybody is scored, 0 being before the first; at least the last."""
        every, rounds = self.eval_every, self.rounds
        return (*range(0, rounds, every), rounds) if every < rounds else (rounds,)


@dataclass
class Outcome:
    """What a run measured: rows per round, client and true class, summaries, traffic, tensor counts and seconds.

    `trainable` (`shared` and `local`) and `travelling` (`upload` and `download`) are shapes by name; where a client
    sends and receives the rows of its own classes alone, the shape has those of all.
    """

    rounds: list[dict[str, Any]] = field(default_factory=list)
    clients: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, float] | None] = field(default_factory=dict)
    metrics_prior: dict[str, dict[str, float] | None] = field(default_factory=dict)
    by_class: dict[str, list[list[float | None]]] = field(default_factory=dict)
    upload_bytes: int = 0
    download_bytes: int = 0
    parameters: dict[str, int] = field(default_factory=dict)
    trainable: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    travelling: dict[str, dict[str, list[int]]] = field(default_factory=lambda: {"upload": {}, "download": {}})
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    images: int = 0
    backbone_passes: float = 0.0
    never_trained: float = 0.0


class Simulator:
    """One method on one federation with one seed. `run` trains and returns the outcome."""

    def __init__(
        self,
        recipe: Recipe,
        vit: FrozenViT,
        train: Samples,
        test: Samples,
        federation: Federation,
        streams: RandomStreams,
        protocol: RoundSettings,
    ) -> None:
        self.recipe, self.method, self.vit = recipe, recipe.method, vit
        self.train, self.test, self.federation = train, test, federation
        self.streams, self.protocol = streams, protocol
        self.method.check(vit)
        shared = self._placed(self.method.shared(vit, streams.torch))
        self.shared_names = tuple(shared)
        if recipe.optimisers and not shared:
            raise MethodError(f"{recipe.name}: {self.method.name} shares nothing that a plug-in could act on; drop it.")
        private = self._placed(self.method.private(vit, streams.torch, len(federation.clients)))
        self.private_names = tuple(private)
        self.server: State = {**shared, **self._placed(self.method.memory(vit, streams.torch)), **private}
        self.initial_server = self.server  # never changed in place, so what training has moved is another object
        self.optimiser_memory = [optimiser.memory(shared) for optimiser in recipe.optimisers]
        self.optimiser_initial = plugins.initial(recipe, shared)
        self.optimiser_local: dict[int, State] = {}  # what plug-ins keep at clients that have trained, whole
        self.initial_local = self._placed(self.method.local(vit, streams.torch))
        self.local: dict[int, State] = {}  # of clients that have trained; the others hold the initial one
        self.rounds_trained = np.zeros(len(federation.clients), dtype=np.int64)
        self.executor = protocol.executor
        self.trains = bool(self.method.phases())
        if not self.trains:
            self.executor.used = "none: nothing is trained"
        self.judge = Evaluator(self)
        self.layers_before = vit.layers_run
        self.reached: int | None = None  # the last finished round, 0 being before the first
        self.outcome = Outcome(
            parameters={
                "shared": sum(v.numel() for v in shared.values()),
                "local": sum(v.numel() for v in self.initial_local.values()),
            },
            trainable={"shared": _shapes(shared), "local": _shapes(self.initial_local)},
        )

    def _placed(self, state: State) -> State:
        """The tensors where the run computes, contiguous: sums take the same order after a checkpoint as without."""
        return {name: value.to(self.vit.device).contiguous() for name, value in state.items()}

    def run(self, progress: Callable[[int], None] = lambda _: None) -> Outcome:
        """Simulates all rounds that it has not reached yet, calling `progress(round)` after each."""
        self.announce()
        if self.reached is None:
            if self.method.initial_statistics:
                with _Clock(self.outcome, "train_seconds"):
                    self._initial_statistics()
            self._close_round(0, float("nan"), {})
            progress(0)
        for number in range((self.reached or 0) + 1, self.protocol.rounds + 1):
            with _Clock(self.outcome, "train_seconds"):
                loss, notes = self._round(number) if self.trains else (float("nan"), {})
            self._close_round(number, loss, notes)
            progress(number)
        if self.trains:
            seen = self.federation.seen
            self.outcome.never_trained = float((self.rounds_trained[seen] == 0).mean())
        return self.outcome

    def announce(self) -> None:
        """Tells the samples how many rows this run will read of them, which settles what is worth keeping."""
        sizes = np.array([len(client.train) for client in self.federation.clients])
        passed = np.array(
            [images_trained(self.method.phases(), size, self.protocol.training) for size in sizes.tolist()]
        )
        rounds = range(1, self.protocol.rounds + 1) if self.trains else ()
        trained = sum(int(passed[self.cohort(number)].sum()) for number in rounds)
        gathered = int(sizes[self.federation.seen].sum()) if self.method.initial_statistics else 0
        tested = len(self.protocol.evaluated) * sum(len(client.test) for client in self.federation.clients)
        remembered = int(sizes.sum()) * len(self.protocol.evaluated) if remembers(self.method) else 0
        on_train = self.test is self.train
        self.train.expect(trained + gathered + remembered + (tested if on_train else 0))
        if not on_train:
            self.test.expect(tested)

    def cohort(self, number: int) -> np.ndarray:
        """The seen clients that train in a round, in ascending order; at least one."""
        seen = self.federation.seen
        count = max(1, round(self.protocol.participation * len(seen)))
        return np.sort(self.streams.numpy("cohort", number).choice(seen, count, replace=False))

    def _own(self, client: int) -> State:
        """A client's local tensors: the initial ones until it has trained."""
        held = self.local.get(client)
        return self.initial_local if held is None else {name: held[name] for name in self.initial_local}

    def _download(self, client: int | None) -> State:
        """What the server sends to a client; None for a held-out one."""
        sent = self.method.download(self.server, client)
        return {name: value for name, value in sent.items() if name not in self.private_names}

    def jobs(self, clients: Sequence[int] | np.ndarray, number: int) -> list[ClientTask]:
        """What the clients of a round are handed: their data, the server's current tensors, their own; counts bytes."""
        jobs = []
        sent = plugins.sent(self.recipe, self.optimiser_memory) if number else {}  # before round 1 nothing is trained
        for client in map(int, clients):
            received = self._download(client)
            self._downloaded(client, received, sent)
            jobs.append(
                ClientTask(
                    client=client,
                    rows=self.federation.clients[client].train,
                    counts=self.federation.counts[client],
                    shared={k: v for k, v in received.items() if k in self.shared_names},
                    memory={k: v for k, v in received.items() if k not in self.shared_names},
                    local=self._own(client),
                    rng=self.streams.numpy("batches", number, client),
                    sent=sent,
                    kept=self.optimiser_local.get(client, self.optimiser_initial),
                )
            )
        return jobs

    def travelling(self, state: State, client: int) -> int:
        """Bytes of a state that travel between the server and a client."""
        return size(state, self.recipe.class_rows, int((self.federation.counts[client] > 0).sum()))

    def _downloaded(self, client: int, *states: State) -> None:
        for state in states:
            self.outcome.download_bytes += self.travelling(state, client)
            self.outcome.travelling["download"] |= _shapes(state)

    def _uploaded(self, *states: State) -> None:
        """Counts what a client sent; of tensors in `class_rows` only its own rows are there."""
        for state in states:
            self.outcome.upload_bytes += size(state)
            shapes = _shapes(state)
            for name in shapes.keys() & set(self.recipe.class_rows):
                shapes[name][0] = self.vit.classes
            self.outcome.travelling["upload"] |= shapes

    def _initial_statistics(self) -> None:
        """Every training client's statistics, gathered and folded in before round 1."""
        total: State = {}
        seen = self.federation.seen
        for start in range(0, len(seen), WARM_COHORT):
            jobs = self.jobs(seen[start : start + WARM_COHORT], 0)
            for job, sums in zip(jobs, collect(self.method, self.vit, self.train, jobs), strict=True):
                self._uploaded(sums)
                self._pool(total, sums, np.flatnonzero(job.counts))
        self.server = {**self.server, **self._placed(self.method.apply_statistics(self.server, total))}

    def _pool(self, total: State, statistics: State, classes: np.ndarray) -> None:
        """Adds a client's statistics to the total, in place; rows of its classes to the rows of all classes."""
        rows = torch.from_numpy(classes).to(self.vit.device)
        for name, value in self.method.transform_statistics(statistics).items():
            by_class = name in self.method.class_rows
            if name not in total:
                total[name] = value.new_zeros((self.vit.classes, *value.shape[1:]) if by_class else value.shape)
            if by_class:
                total[name].index_add_(0, rows, value)
            else:
                total[name] += value

    def _round(self, number: int) -> tuple[float, dict[str, float]]:
        """Trains a cohort and combines; returns the mean loss and diagnostics over its clients."""
        jobs = self.jobs(self.cohort(number), number)
        updates = self.executor.train(self.recipe, self.vit, self.train, jobs, self.protocol.training)
        for update in updates:
            self.outcome.images += update.images
            self._uploaded(update.shared, update.statistics, update.reports, update.beside)
            self.rounds_trained[update.client] += 1
            own = {**update.local, **{name: update.shared[name] for name in self.method.personal_copies}}
            if own:
                self.local[update.client] = {name: value.clone() for name, value in own.items()}
            if update.kept:
                self.optimiser_local[update.client] = plugins.whole_of(update.kept, update, self.recipe, self.server)
        notes = {name: float(np.mean([u.notes[name] for u in updates])) for name in updates[0].notes}
        notes |= self._combine(updates)
        return float(np.mean([update.loss for update in updates])), notes

    def _combine(self, updates: list[ClientUpdate]) -> dict[str, float]:
        """The server's step; returns its diagnostics."""
        statistics: State = {}
        for update in updates:
            self._pool(statistics, update.statistics, update.classes)
        rows, device = self.method.class_rows, self.vit.device
        classes = [torch.from_numpy(update.classes).to(device) for update in updates]
        wholes = [whole(u.shared, self.server, c, rows) for u, c in zip(updates, classes, strict=True)]

        def report(name: str) -> torch.Tensor:
            own = [update.reports[name] for update in updates]
            if name in rows:
                own = [among_all(value, c, self.vit.classes) for value, c in zip(own, classes, strict=True)]
            return torch.stack(own)

        uploads = Uploads(
            clients=[update.client for update in updates],
            samples=torch.tensor([float(update.samples) for update in updates]),
            shared={k: torch.stack([full[k] for full in wholes]) for k in updates[0].shared},
            statistics=statistics,
            reports={name: report(name) for name in updates[0].reports},
        )
        before = {name: self.server[name] for name in self.shared_names}
        server = self.method.combine(self.server, uploads)
        averaged = {name: server[name] for name in self.shared_names}
        beside = [plugins.whole_of(update.beside, update, self.recipe, before) for update in updates]
        stepped, self.optimiser_memory = plugins.step(
            self.recipe, self.optimiser_memory, before, averaged, uploads, beside, len(self.federation.seen)
        )
        self.server = self._placed({**server, **stepped})
        return uploads.notes

    def _close_round(self, number: int, loss: float, notes: dict[str, float]) -> None:
        """Writes the round's row; evaluates where it is due, and keeps the last round's result."""
        row: dict[str, Any] = {"round": number, "train_loss": loss}
        row |= {f"train_{name}": value for name, value in notes.items()}
        if number in self.protocol.evaluated:
            with _Clock(self.outcome, "eval_seconds"):
                self.judge.evaluate(row, last=number == self.protocol.rounds)
        row |= {"upload_bytes": self.outcome.upload_bytes, "download_bytes": self.outcome.download_bytes}
        row["seconds"] = self.outcome.train_seconds + self.outcome.eval_seconds
        self.outcome.rounds.append(row)
        self.outcome.backbone_passes = (self.vit.layers_run - self.layers_before) / self.vit.depth
        self.reached = number

    def subjects(self, clients: np.ndarray, labelled: bool = True, part: str = "test") -> list[Subject]:
        """Each client with its `test` or `validation` rows, its download and its own local tensors.

        A seen client that has not trained yet holds the initial local tensors; a held-out one takes the mean
        of those of the clients that have trained, unless its method has them from what it receives.
        """
        average = self._mean_local()
        subjects = []
        for client in map(int, clients):
            member = self.federation.clients[client]
            received = self._download(None if member.held_out else client)
            own = {**self.initial_local, **self.local.get(client, {})}
            local = self.method.held_out_local(received, average) if member.held_out else own
            counts = self.federation.counts[client]
            counts = counts if labelled else np.zeros_like(counts)
            subjects.append(Subject(client, getattr(member, part), counts, {**received, **local}, member.held_out))
        return subjects

    def _mean_local(self) -> State:
        if not self.local:
            return self.initial_local
        return {
            name: torch.stack([state[name] for state in self.local.values()]).mean(0) for name in self.initial_local
        }


def _shapes(state: State) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in state.items()}


class _Clock:
    """Adds the seconds spent inside a `with` block to a field of the outcome."""

    def __init__(self, outcome: Outcome, name: str) -> None:
        self.outcome, self.name = outcome, name

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        elapsed = time.perf_counter() - self.began
        setattr(self.outcome, self.name, getattr(self.outcome, self.name) + elapsed)
