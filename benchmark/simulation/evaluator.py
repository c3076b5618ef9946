"""Evaluates all clients: seen and held out, as they are and after training on their own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.simulation.context import SimulationContext
from fedprompt.benchmark.simulation.datastore import CLIENTS_AT_ONCE, has_datastore, with_datastore
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.outcome import Outcome
from fedprompt.benchmark.simulation.scoring import Scores, ScoringTask, joined, score, summary
from fedprompt.benchmark.simulation.state import FederationState
from fedprompt.benchmark.simulation.tasks import ClientTask
from fedprompt.methods.base import Phase
from fedprompt.methods.registry import Recipe


class Evaluator:
    """Scores the clients of a simulation and enters the results into its outcome.

    Args:
        context: The simulation.
        executor: Trains clients where they fine-tune before they predict.
    """

    def __init__(self, context: SimulationContext, executor: Executor) -> None:
        self.context, self.executor = context, executor
        self.scores: Scores | None = None  # of the last evaluation

    def evaluate(self, state: FederationState, outcome: Outcome, row: dict[str, Any], last: bool) -> None:
        """Scores every client that can predict.

        Args:
            state: The state after a round.
            outcome: Receives the metrics and, after the last round, one row per client.
            row: The round's row; receives the means and the worst clients.
            last: Whether this is the last round.
        """
        context, method = self.context, self.context.method
        seen = context.federation.seen
        if context.trains or self.scores is None:  # without training nothing has changed
            tasks = self._tuned(self.tasks(state, seen), method.fine_tuning)
            if method.held_out:
                tasks += self.tasks(state, context.federation.held_out)
            self.scores = self._score(tasks)
        scores = self.scores
        outcome.metrics, outcome.metrics_prior = {}, {}
        for group, members in (("seen", slice(0, len(seen))), ("held_out", slice(len(seen), None))):
            total = scores.total[members]
            plain = outcome.metrics[group] = summary(scores.accuracy[members], total)
            corrected = outcome.metrics_prior[group] = summary(scores.accuracy_prior[members], total)
            for suffix, values in (("", plain), ("_prior", corrected)):
                row[f"{group}_mean{suffix}"] = values["mean"] if values else float("nan")
                row[f"{group}_worst{suffix}"] = values["worst"] if values else float("nan")
        for name, sums in scores.notes.items():
            row[f"test_{name}"] = float(sums.sum() / max(1, scores.total.sum()))
        self._score_variants(state, outcome, row, last)
        if last:
            outcome.by_class = scores.means_by_class()
            outcome.clients += self._client_rows(state, scores)

    def tasks(
        self, state: FederationState, clients: np.ndarray, labelled: bool = True, part: str = "test"
    ) -> list[ScoringTask]:
        """One scoring task per client, on its `test` or `validation` rows.

        Args:
            state: The state after a round.
            clients: Indices of the clients.
            labelled: Whether the client's class counts are known; if not, they are zeros.
            part: Which of the client's rows to score.
        """
        federation = self.context.federation
        tasks = []
        for client, own in zip(clients.tolist(), state.for_prediction(clients.tolist()), strict=True):
            counts, member = federation.counts[client], federation.clients[client]
            counts = counts if labelled else np.zeros_like(counts)
            tasks.append(ScoringTask(client, getattr(member, part), counts, own, member.held_out))
        return tasks

    def adaptation(self, state: FederationState, last: bool) -> Phase | None:
        """What held-out clients train before they are scored once more; None if they do not."""
        context, method = self.context, self.context.method
        if not (method.held_out and len(context.federation.held_out)):
            return None
        if not (last and context.settings.adapt_epochs):
            return method.fine_tuning
        names = method.adapted
        if names is None:
            names = tuple(state.initial_local) or tuple(state.server.shared)
        return Phase(names, context.settings.adapt_epochs) if names else None

    def _score_variants(self, state: FederationState, outcome: Outcome, row: dict[str, Any], last: bool) -> None:
        """Scores held-out clients without labels and after adaptation, and validation samples."""
        context, method, metrics = self.context, self.context.method, outcome.metrics
        held_out = context.federation.held_out

        def summarised(tasks: list[ScoringTask], samples: Samples | None = None, datastores: bool = False) -> Any:
            scores = self._score(tasks, samples, datastores)
            return summary(scores.accuracy, scores.total)

        if method.uses_prior and len(held_out):
            metrics["held_out_unlabelled"] = summarised(self.tasks(state, held_out, labelled=False))
        if phase := self.adaptation(state, last):
            metrics["held_out_adapted"] = summarised(self._tuned(self.tasks(state, held_out), phase))
        elif has_datastore(method) and len(held_out):
            metrics["held_out_adapted"] = summarised(self.tasks(state, held_out), datastores=True)
        if any(len(client.validation) for client in context.federation.clients):
            tasks = self.tasks(state, context.federation.seen, part="validation")
            values = metrics["validation"] = summarised(self._tuned(tasks, method.fine_tuning), context.train)
            row["validation_mean"] = values["mean"] if values else float("nan")

    def _score(self, tasks: list[ScoringTask], samples: Samples | None = None, held_out: bool = False) -> Scores:
        """Scores, with datastores where the method has them; held-out clients have one only if `held_out`."""
        context, samples = self.context, samples or self.context.test
        if not (has_datastore(context.method) and tasks):
            return score(context.recipe, context.vit, samples, tasks, self.executor.threads)
        parts = []
        for start in range(0, len(tasks), CLIENTS_AT_ONCE):
            group = with_datastore(context, tasks[start : start + CLIENTS_AT_ONCE], held_out)
            parts.append(score(context.recipe, context.vit, samples, group, self.executor.threads))
        return joined(parts)

    def _tuned(self, tasks: list[ScoringTask], phase: Phase | None) -> list[ScoringTask]:
        """The tasks after every client trained a phase on its own data; nothing of it reaches the server."""
        if phase is None or not tasks:
            return tasks
        context = self.context
        recipe = Recipe(context.recipe.name, context.method)  # optimisers act in rounds only
        training = self._training_tasks(tasks)
        updates = self.executor.train(recipe, context.vit, context.train, training, context.settings.training, (phase,))
        tuned = []
        for task, update in zip(tasks, updates, strict=True):
            shared = context.class_rows.scatter(update.shared, context.class_ids(update.classes), task.state.shared)
            tuned.append(replace(task, state=replace(task.state, shared=shared, local=update.local)))
        return tuned

    def _training_tasks(self, tasks: Sequence[ScoringTask]) -> list[ClientTask]:
        federation, streams = self.context.federation, self.context.streams
        return [
            ClientTask(
                client=task.client,
                rows=federation.clients[task.client].train,
                counts=federation.counts[task.client],
                state=task.state,
                rng=streams.numpy("adaptation", task.client),
            )
            for task in tasks
        ]

    def _client_rows(self, state: FederationState, scores: Scores) -> list[dict[str, Any]]:
        """One row per client; accuracies are NaN where the client cannot predict."""
        federation = self.context.federation
        scored = [*federation.seen, *(federation.held_out if self.context.method.held_out else [])]
        place = {client: i for i, client in enumerate(scored)}

        def value(values: np.ndarray, client: int) -> float:
            return float(values[place[client]]) if client in place else float("nan")

        notes = {f"test_{name}": sums / np.maximum(1, scores.total) for name, sums in scores.notes.items()}
        return [
            {
                "client": client,
                "held_out": member.held_out,
                "domain": member.domain,
                "train_samples": len(member.train),
                "test_samples": len(member.test),
                "rounds_trained": int(state.rounds_trained[client]),
                "accuracy": value(scores.accuracy, client),
                "accuracy_prior": value(scores.accuracy_prior, client),
                "class_counts": federation.counts[client].tolist(),
                **{name: value(values, client) for name, values in notes.items()},
            }
            for client, member in enumerate(federation.clients)
        ]
