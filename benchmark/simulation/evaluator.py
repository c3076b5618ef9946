"""Scores the clients of a simulation: seen and held out, as they are and after training once more on their own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from fedprompt.benchmark.simulation.datastore import AT_A_TIME, recalled, remembers
from fedprompt.benchmark.simulation.local_training import ClientTask
from fedprompt.benchmark.simulation.scoring import Scores, Subject, joined, score, summary
from fedprompt.benchmark.simulation.stacking import whole
from fedprompt.methods.base import Phase
from fedprompt.methods.registry import Recipe

if TYPE_CHECKING:
    from fedprompt.benchmark.backbone.samples import Samples
    from fedprompt.benchmark.simulation.simulator import Simulator


class Evaluator:
    """Fills the outcome of a simulation with what its clients score."""

    def __init__(self, run: Simulator) -> None:
        self.run = run
        self.scores: Scores | None = None  # of the last evaluation

    def evaluate(self, row: dict[str, Any], last: bool) -> None:
        """Scores every client that can predict; fills the round's row, the metrics and, at the last, a row a client."""
        run, outcome = self.run, self.run.outcome
        if run.trains or self.scores is None:  # without training nothing has changed
            self.scores = self._score(self._all_subjects())
        scores, seen = self.scores, len(run.federation.seen)
        outcome.metrics, outcome.metrics_prior = {}, {}
        for group, inside in (("seen", slice(0, seen)), ("held_out", slice(seen, None))):
            total = scores.total[inside]
            plain = outcome.metrics[group] = summary(scores.accuracy[inside], total)
            corrected = outcome.metrics_prior[group] = summary(scores.accuracy_prior[inside], total)
            for suffix, values in (("", plain), ("_prior", corrected)):
                row[f"{group}_mean{suffix}"] = values["mean"] if values else float("nan")
                row[f"{group}_worst{suffix}"] = values["worst"] if values else float("nan")
        for name, sums in scores.notes.items():
            row[f"test_{name}"] = float(sums.sum() / max(1, scores.total.sum()))
        self._beside(row, last)
        if last:
            outcome.by_class = scores.means_by_class()
            self._keep_clients(scores)

    def _all_subjects(self) -> list[Subject]:
        """Seen clients, fine-tuned where the method does that, then held-out ones, where they can predict."""
        run = self.run
        subjects = self._tuned(run.subjects(run.federation.seen), run.method.fine_tuning)
        return subjects + (run.subjects(run.federation.held_out) if run.method.held_out else [])

    def _beside(self, row: dict[str, Any], last: bool) -> None:
        """What is reported apart: held-out clients without labels and after adaptation, and validation samples."""
        run, metrics = self.run, self.run.outcome.metrics
        held_out = run.federation.held_out

        def summed(
            subjects: list[Subject], samples: Samples | None = None, newcomers: bool = False
        ) -> dict[str, float] | None:
            scores = self._score(subjects, samples, newcomers)
            return summary(scores.accuracy, scores.total)

        if run.method.uses_prior and len(held_out):
            metrics["held_out_unlabelled"] = summed(run.subjects(held_out, labelled=False))
        if phase := self.adaptation(last):
            metrics["held_out_adapted"] = summed(self._tuned(run.subjects(held_out), phase))
        elif remembers(run.method) and len(held_out):
            metrics["held_out_adapted"] = summed(run.subjects(held_out), newcomers=True)
        if any(len(client.validation) for client in run.federation.clients):
            aside = self._tuned(run.subjects(run.federation.seen, part="validation"), run.method.fine_tuning)
            values = metrics["validation"] = summed(aside, run.train)
            row["validation_mean"] = values["mean"] if values else float("nan")

    def _score(self, subjects: list[Subject], samples: Samples | None = None, newcomers: bool = False) -> Scores:
        """Scores, after the subjects have looked up what their method lets them remember; held-out ones as
        `newcomers` alone."""
        run = self.run

        def of(some: list[Subject]) -> Scores:
            return score(run.recipe, run.vit, samples or run.test, some, run.executor.threads)

        if not (remembers(run.method) and subjects):
            return of(subjects)
        few = (subjects[i : i + AT_A_TIME] for i in range(0, len(subjects), AT_A_TIME))
        return joined([of(recalled(run, some, newcomers)) for some in few])

    def adaptation(self, last: bool) -> Phase | None:
        """What held-out clients train before they are scored once more; None where that is not due."""
        run = self.run
        if not (run.method.held_out and len(run.federation.held_out)):
            return None
        if not (last and run.protocol.adapt_epochs):
            return run.method.fine_tuning
        names = run.method.adapted
        if names is None:
            names = tuple(run.initial_local) or run.shared_names
        return Phase(names, run.protocol.adapt_epochs) if names else None

    def _tuned(self, subjects: list[Subject], phase: Phase | None) -> list[Subject]:
        """The subjects after a phase of training, each on its own data; nothing of it reaches the server."""
        if phase is None or not subjects:
            return subjects
        run, rows, device = self.run, self.run.method.class_rows, self.run.vit.device
        plain = Recipe(run.recipe.name, run.method)  # the plug-ins are the federation's affair
        updates = run.executor.train(plain, run.vit, run.train, self._jobs(subjects), run.protocol.training, (phase,))
        return [
            replace(subject, state={**subject.state, **full, **update.local})
            for subject, update in zip(subjects, updates, strict=True)
            for full in [whole(update.shared, subject.state, torch.from_numpy(update.classes).to(device), rows)]
        ]

    def _jobs(self, subjects: Sequence[Subject]) -> list[ClientTask]:
        run = self.run
        own = (*run.shared_names, *run.initial_local)
        return [
            ClientTask(
                client=subject.client,
                rows=run.federation.clients[subject.client].train,
                counts=run.federation.counts[subject.client],
                shared={k: subject.state[k] for k in run.shared_names},
                memory={k: v for k, v in subject.state.items() if k not in own},
                local={k: subject.state[k] for k in run.initial_local},
                rng=run.streams.numpy("adaptation", subject.client),
            )
            for subject in subjects
        ]

    def _keep_clients(self, scores: Scores) -> None:
        run = self.run
        order = list(run.federation.seen) + (list(run.federation.held_out) if run.method.held_out else [])
        place = {client: i for i, client in enumerate(order)}
        for client, member in enumerate(run.federation.clients):
            i = place.get(client)
            run.outcome.clients.append(
                {
                    "client": client,
                    "held_out": member.held_out,
                    "domain": member.domain,
                    "train_samples": len(member.train),
                    "test_samples": len(member.test),
                    "rounds_trained": int(run.rounds_trained[client]),
                    "accuracy": float("nan") if i is None else float(scores.accuracy[i]),
                    "accuracy_prior": float("nan") if i is None else float(scores.accuracy_prior[i]),
                    "class_counts": run.federation.counts[client].tolist(),
                    **{
                        f"test_{name}": float("nan") if i is None else float(sums[i] / max(1, scores.total[i]))
                        for name, sums in scores.notes.items()
                    },
                }
            )
