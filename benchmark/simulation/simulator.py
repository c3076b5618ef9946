"""The federated simulation: rounds of local training and aggregation, evaluation of every client, byte counts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation import optimisers, preparation
from fedprompt.benchmark.simulation.context import RoundSettings, SimulationContext
from fedprompt.benchmark.simulation.evaluation.datastore import has_datastore
from fedprompt.benchmark.simulation.evaluation.evaluator import Evaluator
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.local_training import collect_statistics
from fedprompt.benchmark.simulation.outcome import Outcome
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.start import StartState, restored
from fedprompt.benchmark.simulation.state import FederationState
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate
from fedprompt.data.federation import Federation
from fedprompt.methods.base import State, Uploads
from fedprompt.methods.errors import MethodError
from fedprompt.methods.registry import Recipe

STATISTICS_CLIENTS = 256
"""Clients whose initial statistics are held in memory at a time."""


class Simulator:
    """One method on one federation with one seed.

    Args:
        recipe: The method and its optimisers.
        vit: The frozen backbone.
        train: Training data.
        test: Test data.
        federation: The clients.
        streams: Random generators by purpose.
        settings: The protocol.
        executor: How a cohort's local training is computed.
        start: The state of an earlier run to start from, in place of initial tensors.

    Raises:
        MethodError: The method does not fit the backbone, or an optimiser has nothing to act on.
        ValueError: The state of the earlier run does not fit; completes "its model ...".
    """

    def __init__(
        self,
        recipe: Recipe,
        vit: FrozenViT,
        train: Samples,
        test: Samples,
        federation: Federation,
        streams: RandomStreams,
        settings: RoundSettings,
        executor: Executor | None = None,
        start: StartState | None = None,
    ) -> None:
        before = start.sampled if start and start.federation == federation.hash else ()
        self.context = SimulationContext(recipe, vit.view(), train, test, federation, streams, settings, before)
        recipe.method.check(vit)
        recipe.check_local_optimizer(settings.training.optimizer)
        self.state = FederationState.initial(self.context)
        if len(recipe.optimisers) > len(recipe.loss_plugins) and not self.state.server.shared:
            raise MethodError(f"{recipe.name}: {recipe.method.name} has no shared tensor for an optimiser; drop it.")
        self.start, self.clients_start = start, restored(self.state, start).clients if start else None
        self.executor = executor or Executor()
        if not self.context.trains:
            self.executor.used = "none: nothing is trained"
        self.evaluator = Evaluator(self.context, self.executor)
        self.completed: int | None = None  # the last completed round, 0 being before the first
        parts = {"shared": self.state.server.shared, "local": self.state.initial_local}
        self.outcome = Outcome(
            parameters={part: sum(value.numel() for value in tensors.values()) for part, tensors in parts.items()},
            trainable={part: _shapes(tensors) for part, tensors in parts.items()},
        )

    def run(self, progress: Callable[[int], None] = lambda _: None) -> Outcome:
        """Simulates all remaining rounds and calls `progress(round)` after each, 0 being before the first."""
        context, state, outcome = self.context, self.state, self.outcome
        self.announce_reads()
        if self.completed is None:
            self._prepare()
            state = self.state
            if context.method.initial_statistics and not self.start:
                with self._measured("train_seconds", "train"):
                    self._collect_initial_statistics()
            self._finish_round(0, float("nan"), {})
            progress(0)
        for number in range((self.completed or 0) + 1, context.settings.rounds + 1):
            loss, notes = float("nan"), dict[str, float]()
            if context.trains:
                with self._measured("train_seconds", "train"):
                    tasks = self.make_tasks(context.cohort(number), number)
                    training = context.settings.training.in_round(number, context.settings.rounds)
                    updates = self.executor.train(context.recipe, context.vit, context.train, tasks, training)
                    for update in updates:
                        self._count_upload(*update.uploads)
                        outcome.images["train"] += update.images
                        state.store(update)
                    loss, notes = _means(updates)
                    notes |= self._aggregate(updates)
            self._finish_round(number, loss, notes)
            progress(number)
        if context.trains:
            outcome.never_trained = float((state.rounds_trained[context.federation.seen] == 0).mean())
        return outcome

    def _prepare(self) -> None:
        if self.context.settings.prepares:
            kept = self.start.standardization if self.start else None
            with self._measured("train_seconds", "train"):
                self.state = preparation.prepare(self.context, self.state, self.outcome, kept)
        if self.start:
            restored(self.state, self.start).apply(self.state)

    @contextmanager
    def _measured(self, seconds: str, purpose: str) -> Iterator[None]:
        """Adds the time and the needed layers inside the `with` block to the outcome."""
        with self.outcome.timed(seconds), self.outcome.counted(self.context.vit, purpose):
            yield

    def announce_reads(self) -> None:
        """Tells the data how many of its rows this run will read, which decides what is worth caching.

        As many as the split has are enough for that, so the rounds that follow are not counted.
        """
        context, settings = self.context, self.context.settings
        clients, phases = context.federation.clients, context.method.phases()
        sizes = np.array([len(client.train) for client in clients])
        images = np.array([settings.training.images(phases, size) for size in sizes.tolist()])
        rounds = range(1, settings.rounds + 1) if context.trains else ()
        reads = 0
        for number in rounds:
            if reads >= len(context.train):
                break
            reads += int(images[context.cohort(number)].sum())
        once = context.method.initial_statistics + len(preparation.recipes(context, self.state))
        reads += int(sizes[context.federation.seen].sum()) * once
        reads += int(sizes.sum()) * len(settings.evaluated) if has_datastore(context.method) else 0
        reads += self.evaluator.training_reads(self.state)
        training = [clients[k].train for k in self._clients_read(statistics=once > 0).tolist()]
        trained = np.concatenate([*training, *(client.validation for client in clients)])
        tested = np.concatenate([client.test for client in clients])
        tests = len(settings.evaluated) * len(tested)
        if context.test is context.train:
            context.train.expect(reads + tests, np.concatenate([trained, tested]))
        else:
            context.train.expect(reads, trained)
            context.test.expect(tests, tested)

    def _clients_read(self, statistics: bool) -> np.ndarray:
        """The clients whose training samples this run reads: all seen ones if they send `statistics` at the start."""
        context, federation = self.context, self.context.federation
        groups = [context.sampled(context.settings.rounds), *(own for _, own in self.evaluator.training(self.state))]
        if statistics:
            groups.append(federation.seen)
        if has_datastore(context.method):
            groups.append(np.arange(len(federation.clients)))
        return np.unique(np.concatenate(groups))

    def make_tasks(self, clients: Sequence[int] | np.ndarray, number: int) -> list[ClientTask]:
        """The local training of the clients of a round, from the current state; counts what they receive."""
        context, state = self.context, self.state
        sent = (
            optimisers.sent(context.recipe, state.optimiser_memory) if number else {}
        )  # nothing trains before round 1
        tasks = []
        for client in map(int, clients):
            own = state.for_training(client)
            self._count_download(client, {**own.shared, **own.memory}, sent)
            tasks.append(
                ClientTask(
                    client=client,
                    rows=context.federation.clients[client].train,
                    counts=context.federation.counts[client],
                    state=own,
                    rng=context.streams.numpy("batches", number, client),
                    optimiser_received=sent,
                    optimiser_local=state.optimiser_local.get(client, state.optimiser_initial),
                )
            )
        return tasks

    def sent_bytes(self, state: State, client: int) -> int:
        """Bytes of a state in the server's layout that travel between the server and a client."""
        return self.context.class_rows.nbytes(state, int((self.context.federation.counts[client] > 0).sum()))

    def _count_download(self, client: int, *states: State) -> None:
        for state in states:
            self.outcome.download_bytes += self.sent_bytes(state, client)
            self.outcome.travelling["download"] |= _shapes(state)

    def _count_upload(self, *states: State) -> None:
        for state in states:
            self.outcome.upload_bytes += self.context.class_rows.nbytes(state)
            self.outcome.travelling["upload"] |= self.context.class_rows.shapes(state)

    def _collect_initial_statistics(self) -> None:
        """Collects the statistics of every seen client and applies their sum, before round 1."""
        context, total, seen = self.context, State(), self.context.federation.seen
        for start in range(0, len(seen), STATISTICS_CLIENTS):
            tasks = self.make_tasks(seen[start : start + STATISTICS_CLIENTS], 0)
            statistics = collect_statistics(context.recipe, context.vit, context.train, tasks)
            for task, sums in zip(tasks, statistics, strict=True):
                self._count_upload(sums)
                self._add_statistics(total, sums, np.flatnonzero(task.counts))
        changed = context.method.apply_statistics(self.state.server.tensors, total)
        self.state.server = self.state.server.updated(context.placed(changed))

    def _add_statistics(self, total: State, statistics: State, classes: np.ndarray) -> None:
        transformed = self.context.method.transform_statistics(statistics)
        self.context.class_rows.add(total, transformed, self.context.class_ids(classes))

    def _aggregate(self, updates: list[ClientUpdate]) -> dict[str, float]:
        """The server's step of a round; returns its diagnostics."""
        context, state = self.context, self.state
        class_rows, before = context.class_rows, state.server
        classes = [context.class_ids(update.classes) for update in updates]
        pairs = list(zip(updates, classes, strict=True))
        statistics: State = {}
        for update in updates:
            self._add_statistics(statistics, update.statistics, update.classes)
        uploads = Uploads(
            clients=[update.client for update in updates],
            samples=torch.tensor([float(update.samples) for update in updates]),
            shared=_stacked([class_rows.scatter(update.shared, own, before.shared) for update, own in pairs]),
            statistics=statistics,
            reports=_stacked([class_rows.scatter(update.reports, own) for update, own in pairs]),
            epochs=context.settings.training.epochs,
        )
        combined = context.method.combine(before.tensors, uploads)
        if lost := sorted(before.keys() - combined.keys()):
            raise MethodError(f"{context.method.name}: combine() does not return {', '.join(lost)}.")
        server = before.updated(combined)
        reports = _stacked([class_rows.scatter(update.optimiser_upload, own) for update, own in pairs])
        shared, state.optimiser_memory = optimisers.server_step(
            context.recipe,
            state.optimiser_memory,
            before.shared,
            server.shared,
            uploads,
            reports,
            len(context.federation.seen),
        )
        state.server = server.updated(context.placed({**server.tensors, **shared}))
        return uploads.notes

    def _finish_round(self, number: int, loss: float, notes: dict[str, float]) -> None:
        """Evaluates where it is due and writes the round's row."""
        context, outcome = self.context, self.outcome
        row: dict[str, Any] = {"round": number, "train_loss": loss}
        row |= {f"train_{name}": value for name, value in notes.items()}
        if number in context.settings.evaluated:
            with outcome.timed("eval_seconds"):
                self.evaluator.evaluate(self.state, outcome, row)
        row |= {"upload_bytes": outcome.upload_bytes, "download_bytes": outcome.download_bytes}
        row["seconds"] = outcome.train_seconds + outcome.eval_seconds
        outcome.rounds.append(row)
        self.completed = number

    def state_dict(self) -> dict[str, Any]:
        """Everything that a simulation needs to continue after its last completed round, with the same bits.

        Random draws follow from (purpose, round, client) and initial tensors from the seed, so neither is included.

        Returns:
            round, tensors (by `PART/NAME`, only those that training changed), clients (by part, in the order in which
            they first trained), rounds_trained, outcome, and executor (used, width, notes).
        """
        executor = self.executor
        return {
            "round": self.completed,
            "tensors": self.state.tensors(),
            "clients": {part: list(states) for part, states in self.state.per_client.items()},
            "rounds_trained": self.state.rounds_trained.tolist(),
            "outcome": asdict(self.outcome),
            "executor": {"used": executor.used, "width": executor.width, "notes": executor.notes},
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continues from a `state_dict` of the same run; call it before `run`.

        `executor` may be None, as on another kind of machine: the executor then chooses again.

        Raises:
            ValueError: Something does not fit this run; the message completes "the checkpoint ...". Nothing changes.
        """
        try:
            outcome = TypeAdapter(Outcome).validate_python(saved["outcome"])
            rounds = [row["round"] for row in outcome.rounds]
        except (ValidationError, KeyError) as error:
            raise ValueError("contains no outcome of a run") from error
        tensors = self.context.placed(saved["tensors"])
        states = self.state.checked(tensors, saved["clients"])
        number, trained = saved["round"], saved["rounds_trained"]
        clients, last = len(self.context.federation.clients), self.context.settings.rounds
        if rounds != list(range(number + 1)) or number > last or len(trained) != clients:
            raise ValueError("does not fit the rounds or the clients of its run")
        self.announce_reads()
        self._prepare()  # repeats what the first attempt did; what it counts is in the outcome already
        self.state.load(*states, np.array(trained, dtype=np.int64))
        self.outcome, self.completed = outcome, number
        if saved["executor"] is not None:
            executor, earlier = self.executor, saved["executor"]
            executor.used = executor.used or earlier["used"]
            executor.width = None if executor.halvings else earlier["width"]
            executor.notes[:] = [*earlier["notes"], *(n for n in executor.notes if n not in earlier["notes"])]


def _means(updates: list[ClientUpdate]) -> tuple[float, dict[str, float]]:
    """Mean loss and mean diagnostics over the clients of a round."""
    notes = {name: float(np.mean([update.notes[name] for update in updates])) for name in updates[0].notes}
    return float(np.mean([update.loss for update in updates])), notes


def _stacked(states: list[State]) -> State:
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def _shapes(state: State) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in state.items()}
