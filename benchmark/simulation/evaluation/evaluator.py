"""Evaluates all clients: seen and held out, as they are and after training on their own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.simulation.context import SimulationContext
from fedprompt.benchmark.simulation.evaluation import calibration, unlabelled
from fedprompt.benchmark.simulation.evaluation.datastore import has_datastore, with_datastore
from fedprompt.benchmark.simulation.evaluation.scoring import Scores, ScoringTask, joined, score, summary
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.outcome import Metrics, Outcome, Summary
from fedprompt.benchmark.simulation.state import FederationState
from fedprompt.benchmark.simulation.tasks import ClientTask
from fedprompt.methods.base import Phase
from fedprompt.methods.registry import Recipe

CLIENTS_AT_ONCE = 64
"""Clients whose own tensors and datastores are in memory at a time."""


@dataclass(frozen=True)
class Scored:
    """The clients that can predict, and their places among them by group; see `Evaluator.groups`."""

    clients: np.ndarray
    groups: dict[str, np.ndarray]


class Evaluator:
    """Scores the clients of a simulation and enters the results into its outcome.

    Args:
        context: The simulation.
        executor: Trains clients where they train before they predict.
    """

    def __init__(self, context: SimulationContext, executor: Executor) -> None:
        self.context, self.executor = context, executor
        self.scores: Scores | None = None  # of the last evaluation
        self.variants: Metrics = {}

    def evaluate(self, state: FederationState, outcome: Outcome, row: dict[str, Any]) -> None:
        """Scores every client that can predict.

        Args:
            state: The state after a round.
            outcome: Receives the metrics and, after the last round, one row per client.
            row: The round's row; receives the means and the worst clients.
        """
        last, trains = row["round"] == self.context.settings.rounds, self.context.trains
        scored = self.groups(state, row["round"])
        if trains or self.scores is None:  # without training nothing changes: scored once, or once more after a restart
            if not trains:
                outcome.layers = {use: layers for use, layers in outcome.layers.items() if use == "train"}
            self.scores = self.score(state, scored.clients, outcome, self.fine_tuning(), correct=last or not trains)
            self.variants = self._variants(state, outcome)
        outcome.metrics = self._summaries(self.scores.accuracy, self.scores.total, scored) | self.variants
        if last:
            self._finish(state, scored, self.scores, outcome)
        for suffix, metrics in (("", outcome.metrics), ("_prior", outcome.metrics_prior)):
            for group, values in metrics.items():
                row[f"{group}_mean{suffix}"] = _number(values, "mean")
                row[f"{group}_worst{suffix}"] = _number(values, "worst")
        for name, sums in self.scores.notes.items():
            row[f"test_{name}"] = float(sums.sum() / max(1, self.scores.total.sum()))

    def groups(self, state: FederationState, number: int) -> Scored:
        """The clients that can predict after a round, by group.

        Groups: `seen`, `trained` (seen clients that a round has sampled, the same for every method) and `held_out`.
        """
        federation, clients = self.context.federation, self.able(state)
        seen, sampled = np.isin(clients, federation.seen), np.isin(clients, self.context.sampled(number))
        members = {"seen": seen, "trained": seen & sampled, "held_out": ~seen}
        return Scored(clients, {group: np.flatnonzero(member) for group, member in members.items()})

    def able(self, state: FederationState) -> np.ndarray:
        """The clients that can predict, seen ones first: only trained ones if the method has no rule for others."""
        federation = self.context.federation
        clients = np.concatenate([federation.seen, federation.held_out])
        return clients if self.context.method.held_out else clients[state.rounds_trained[clients] > 0]

    def fine_tuning(self) -> Phase | None:
        """The method's own training before seen clients predict; None without any."""
        phase, epochs = self.context.method.fine_tuning, self.context.settings.personal_epochs
        return replace(phase, epochs=phase.epochs or epochs) if phase and (phase.epochs or epochs) else None

    def personal_phase(self, state: FederationState) -> Phase | None:
        """What clients train before their personalised score; None where there is nothing to train."""
        epochs, method = self.context.settings.personal_epochs, self.context.method
        names = method.adapted or tuple(state.initial_local) or tuple(state.server.shared)
        training = [phase for phase in method.phases() if phase.trains is None or set(phase.trains) & set(names)]
        limits = [phase.max_lr for phase in training if phase.max_lr is not None]
        return Phase(names, epochs, max_lr=min(limits, default=None)) if names and epochs else None

    def training(self, state: FederationState) -> list[tuple[Phase, np.ndarray]]:
        """All training before scores in the whole run: each phase with the clients that train it."""
        context, federation = self.context, self.context.federation
        again = 1 + any(len(client.validation) for client in federation.clients)  # validation scores tune once more
        evaluations = len(context.settings.evaluated) if context.trains else 1
        rounds = [(self.fine_tuning(), federation.seen)] * (evaluations * again)
        planned = [*rounds, (self.personal_phase(state), np.arange(len(federation.clients)))]
        return [(phase, clients) for phase, clients in planned if phase is not None]

    def training_reads(self, state: FederationState) -> int:
        """Training images that clients read for all evaluations, without datastores."""
        training, clients = self.context.settings.training, self.context.federation.clients
        calibration = sum(len(clients[k].train) for k in self.context.sampled(self.context.settings.rounds))
        phases = self.training(state)
        return calibration + sum(training.images([phase], len(clients[k].train)) for phase, own in phases for k in own)

    def predicts_with(self, state: FederationState) -> dict[str, str]:
        """What each kind of score is computed with, in words."""
        method, phase, tuning = self.context.method, self.personal_phase(state), self.fine_tuning()
        own = f", after {_epochs(tuning.epochs)} of its own fine-tuning" if tuning else ""
        shared = ", ".join(filter(None, (optimiser.predicts_with for optimiser in self.context.recipe.optimisers)))
        of = f"; shared tensors: {shared}" if shared else ""
        without = method.held_out_with + of if method.held_out else "nothing: it has no score"
        personal = (
            f"after {_epochs(phase.epochs)} of {', '.join(phase.trains or ())} on its own data" if phase else "as is"
        )
        seen = method.seen_with + own + of
        words = {"seen": seen, "untrained": without, "held_out": without, "personalised": personal}
        return (
            words if self.context.settings.personal_epochs else {k: v for k, v in words.items() if k != "personalised"}
        )

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

    def score(
        self,
        state: FederationState,
        clients: np.ndarray,
        outcome: Outcome,
        fine_tuning: Phase | None = None,
        correct: bool = False,
        part: str = "test",
    ) -> Scores:
        """Scores clients, a few at a time, seen ones after `fine_tuning` and with datastores where the method has them.

        Args:
            state: The state after a round.
            clients: Indices of the clients.
            outcome: Counts the images and layers.
            fine_tuning: What seen clients train first.
            correct: Whether to score with prior-corrected logits, too, and to add the losses of `calibration`.
            part: Which of the clients' rows to score.
        """
        vit, parts = self.context.vit, []
        for group in _in_groups(clients):
            tasks = self.tasks(state, group, part=part)
            with outcome.counted(vit, "fine_tuning"):
                tuned, images = self.tuned([task for task in tasks if not task.held_out], fine_tuning)
            outcome.images["fine_tuning"] += images
            tasks = self._with_own_data([*tuned, *(task for task in tasks if task.held_out)])
            with outcome.counted(vit, "evaluate"):
                scores = self._predict(tasks, self.context.train if part == "validation" else None, correct)
            if correct:
                with outcome.counted(vit, "calibrate"):
                    scores.losses = self._losses(tasks)
            parts.append(scores)
        return joined(parts)

    def _variants(self, state: FederationState, outcome: Outcome) -> Metrics:
        """Scores of held-out clients without labels, and of validation samples."""
        context, metrics = self.context, Metrics()
        able = self.able(state)
        held_out = able[np.isin(able, context.federation.held_out)]
        if context.method.uses_prior and len(held_out):
            with outcome.counted(context.vit, "evaluate"):
                scores = self._predict(self.tasks(state, held_out, labelled=False))
            metrics["held_out_unlabelled"] = self._summary(scores.accuracy, scores.total)
        if any(len(client.validation) for client in context.federation.clients):
            seen = able[np.isin(able, context.federation.seen)]
            scores = self.score(state, seen, outcome, self.fine_tuning(), part="validation")
            metrics["validation"] = self._summary(scores.accuracy, scores.total)
        return metrics

    def _finish(self, state: FederationState, scored: Scored, scores: Scores, outcome: Outcome) -> None:
        """What only the last round has: the prior correction, the personalised scores, one row per client."""
        place = calibration.best(scores.losses)
        outcome.temperature = float(calibration.GRID[place])
        outcome.calibration_bytes = calibration.BYTES_PER_CLIENT * len(scored.groups["trained"])
        corrected, uncalibrated = scores.accuracy_prior(place), scores.accuracy_prior(calibration.UNCALIBRATED)
        outcome.metrics_prior = self._summaries(corrected, scores.total, scored)
        outcome.metrics_prior_uncalibrated = self._summaries(uncalibrated, scores.total, scored)
        columns = {
            "accuracy": scores.accuracy,
            "accuracy_prior": corrected,
            "accuracy_prior_uncalibrated": uncalibrated,
            "accuracy_personalised": self._personalised(state, scored, outcome),
            **{f"test_{name}": sums / np.maximum(1, scores.total) for name, sums in scores.notes.items()},
        }
        federation = self.context.federation
        sizes = {"seen": len(federation.seen), "held_out": len(federation.held_out)}
        outcome.unscored = {group: size - len(scored.groups[group]) for group, size in sizes.items()}
        outcome.by_class = scores.means_by_class()
        self._estimate_priors(state, outcome)
        outcome.clients += self._client_rows(state, scored.clients, columns)

    def _estimate_priors(self, state: FederationState, outcome: Outcome) -> None:
        """Scores held-out clients that estimate their class shares from their unlabelled test images."""
        able = self.able(state)
        held_out = able[np.isin(able, self.context.federation.held_out)]
        if not len(held_out):
            return
        tasks, threads = self.tasks(state, held_out, labelled=False), self.executor.threads
        estimated = unlabelled.evaluate(self.context, tasks, outcome.temperature or 1.0, threads)
        for name, scores in estimated.scores.items():
            outcome.metrics[f"held_out_{name}"] = self._summary(scores.accuracy, scores.total)
        outcome.unestimated = estimated.fallbacks

    def _personalised(self, state: FederationState, scored: Scored, outcome: Outcome) -> np.ndarray:
        """Scores every client after training on its own data, from its current state; returns the accuracies."""
        phase, parts, settings = self.personal_phase(state), [], self.context.settings
        if not settings.personal_epochs:
            return np.full(len(scored.clients), np.nan)
        with outcome.counted(self.context.vit, "personal"):
            for group in _in_groups(scored.clients):
                tasks, images = self.tuned(self.tasks(state, group), phase, settings.personal_lr_factor)
                outcome.images["personal"] += images
                parts.append(self._predict(self._with_own_data(tasks, held_out=True)))
        scores = joined(parts)
        summaries = self._summaries(scores.accuracy, scores.total, scored)
        outcome.metrics["personalised"] = summaries["seen"]
        outcome.metrics["held_out_personalised"] = summaries["held_out"]
        return scores.accuracy

    def _predict(self, tasks: list[ScoringTask], samples: Samples | None = None, correct: bool = False) -> Scores:
        context, temperatures = self.context, calibration.GRID.tolist() if correct else ()
        smoothing, samples = context.settings.prior_smoothing, samples or context.test
        return score(context.recipe, context.vit, samples, tasks, self.executor.threads, temperatures, smoothing)

    def _losses(self, tasks: list[ScoringTask]) -> np.ndarray:
        """The losses at all temperatures on the own data of those clients that a round has sampled."""
        context = self.context
        sampled = set(context.sampled(context.settings.rounds).tolist())
        training = [
            replace(task, rows=context.federation.clients[task.client].train)
            for task in tasks
            if task.client in sampled
        ]
        smoothing = context.settings.prior_smoothing
        return calibration.losses(
            context.recipe, context.vit, context.train, training, self.executor.threads, smoothing
        )

    def _with_own_data(self, tasks: list[ScoringTask], held_out: bool = False) -> list[ScoringTask]:
        """The tasks with datastores where the method has them; held-out clients have one only if `held_out`."""
        return with_datastore(self.context, tasks, held_out) if has_datastore(self.context.method) else tasks

    def tuned(
        self, tasks: list[ScoringTask], phase: Phase | None, lr_factor: float = 1.0
    ) -> tuple[list[ScoringTask], int]:
        """The tasks after every client trained a phase on its own data, and the images that this took.

        `lr_factor` multiplies the learning rates of the first round. Nothing of it reaches the server.
        """
        if phase is None or not tasks:
            return tasks, 0
        context = self.context
        recipe = Recipe(context.recipe.name, context.method, context.recipe.loss_plugins)  # optimisers: in rounds only
        training = replace(context.settings.training, lr_factor=lr_factor)
        clients = self._training_tasks(tasks)
        updates = self.executor.train(recipe, context.vit, context.train, clients, training, (phase,))
        tuned = []
        for task, update in zip(tasks, updates, strict=True):
            shared = context.class_rows.scatter(update.shared, context.class_ids(update.classes), task.state.shared)
            tuned.append(replace(task, state=replace(task.state, shared=shared, local=update.local)))
        return tuned, sum(update.images for update in updates)

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

    def _summaries(self, accuracy: np.ndarray, total: np.ndarray, scored: Scored) -> Metrics:
        return {group: self._summary(accuracy[own], total[own]) for group, own in scored.groups.items()}

    def _summary(self, accuracy: np.ndarray, total: np.ndarray) -> Summary | None:
        return summary(accuracy, total, self.context.settings.min_test)

    def _client_rows(
        self, state: FederationState, clients: np.ndarray, columns: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """One row per client; accuracies are NaN where the client cannot predict."""
        federation = self.context.federation
        place = {client: i for i, client in enumerate(clients.tolist())}
        rows = []
        for client, member in enumerate(federation.clients):
            i = place.get(client)
            rows.append(
                {
                    "client": client,
                    "held_out": member.held_out,
                    "domain": member.domain,
                    "train_samples": len(member.train),
                    "test_samples": len(member.test),
                    "rounds_trained": int(state.rounds_trained[client]),
                    "class_counts": federation.counts[client].tolist(),
                    **{name: float("nan") if i is None else float(values[i]) for name, values in columns.items()},
                }
            )
        return rows


def _epochs(number: int | None) -> str:
    return f"{number} epoch" if number == 1 else f"{number} epochs"


def _in_groups(clients: np.ndarray) -> list[np.ndarray]:
    """The clients in groups of `CLIENTS_AT_ONCE`; one empty group without any."""
    return np.split(clients, range(CLIENTS_AT_ONCE, len(clients), CLIENTS_AT_ONCE))


def _number(values: Summary | None, name: str) -> float:
    value = values[name] if values else None
    return float("nan") if value is None else value
