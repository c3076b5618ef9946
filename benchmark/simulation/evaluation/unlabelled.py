"""Scores held-out clients that estimate their class shares from their own test images, without labels.

A method that reads the prior predicts with the estimate as its prior. All others get the prior correction with the
estimate: logits / T + log of the shares. Under that correction logits / T are log densities, so both estimators use
exp(logits / T) as the likelihood; a method that reads the prior predicts with a uniform one, at temperature 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.context import SimulationContext
from fedprompt.benchmark.simulation.evaluation import prior_estimation
from fedprompt.benchmark.simulation.evaluation.scoring import Scores, ScoringTask, log_prior, passes, score

Predictions = list[tuple[np.ndarray, np.ndarray]]
"""Per client, logits [N, C] and labels [N] of its samples."""


@dataclass(frozen=True)
class Estimated:
    """Scores by estimator, and for how many clients each one had to fall back to the source prior."""

    scores: dict[str, Scores]
    fallbacks: dict[str, int]


def evaluate(
    context: SimulationContext, tasks: Sequence[ScoringTask], temperature: float, threads: int = 1
) -> Estimated:
    """Scores held-out clients with the shares that `em` and `bbse` estimate over all of their test images.

    Args:
        context: The simulation after its last round.
        tasks: The held-out clients with unknown labels. They never trained, so all have the same state.
        temperature: That of the prior correction.
        threads: Passes computed in parallel.
    """
    temperature = 1.0 if context.method.uses_prior else temperature
    found, shared = predictions(context, tasks, threads), context.federation.counts[context.federation.seen].sum(0)
    confusion, source = confusion_matrix(context, tasks[0], threads), shared / shared.sum()
    classes = np.arange(len(source))
    estimates = {
        "em": [prior_estimation.em(logits / temperature, source) for logits, _ in found],
        "bbse": [
            prior_estimation.bbse((logits.argmax(1)[:, None] == classes).sum(0), confusion) for logits, _ in found
        ],
    }
    scores = {}
    for name, shares in estimates.items():
        known = [source if own is None else own for own in shares]
        guessed = [replace(task, counts=own * len(task.rows)) for task, own in zip(tasks, known, strict=True)]
        scores[name] = _scores(context, guessed, found, temperature, threads)
    return Estimated(scores, {name: sum(own is None for own in shares) for name, shares in estimates.items()})


def _scores(
    context: SimulationContext, tasks: Sequence[ScoringTask], found: Predictions, temperature: float, threads: int
) -> Scores:
    """Scores clients with estimated class counts: by the method's own use of them, or by the prior correction."""
    smoothing = context.settings.prior_smoothing
    if context.method.uses_prior:
        return score(context.recipe, context.vit, context.test, tasks, threads)
    priors = log_prior(torch.from_numpy(np.stack([task.counts for task in tasks])), smoothing).numpy()
    pairs = zip(found, priors, strict=True)
    right = [((logits / temperature + prior).argmax(1) == labels).sum() for (logits, labels), prior in pairs]
    total = np.array([len(task.rows) for task in tasks])
    return Scores(np.array(right, dtype=float), np.zeros((len(tasks), 0)), total)


def predictions(context: SimulationContext, tasks: Sequence[ScoringTask], threads: int = 1) -> Predictions:
    """Every client's logits for its test samples, in double precision, and their labels."""

    def collect(batch: Batch, logits: Tensor, own: list[ScoringTask]) -> list[tuple[np.ndarray, np.ndarray]]:
        shape = batch.clients, batch.width
        parts = zip(logits.double().view(*shape, -1), batch.labels.view(shape), batch.mask.view(shape), strict=True)
        return [(values[kept].cpu().numpy(), labels[kept].cpu().numpy()) for values, labels, kept in parts]

    classes = context.vit.classes
    parts: list[Predictions] = [[(np.zeros((0, classes)), np.zeros(0, dtype=np.int64))] for _ in tasks]
    for members, own in passes(context.recipe, context.vit, context.test, tasks, threads, collect):
        for i, part in zip(members, own, strict=True):
            parts[i].append(part)
    return [(np.concatenate([z for z, _ in own]), np.concatenate([y for _, y in own])) for own in parts]


def confusion_matrix(context: SimulationContext, task: ScoringTask, threads: int = 1) -> np.ndarray:
    """Samples by predicted (row) and true class (column), [C, C], of the model that `task` predicts with.

    Over the validation samples of the seen clients that a round has sampled, or their training samples without such.
    """
    federation, classes = context.federation, context.vit.classes
    clients = [federation.clients[k] for k in context.sampled(context.settings.rounds).tolist()]
    validated = any(len(client.validation) for client in clients)
    tasks = [replace(task, rows=client.validation if validated else client.train) for client in clients]

    def count(batch: Batch, logits: Tensor, own: list[ScoringTask]) -> np.ndarray:
        pairs = torch.stack([logits.argmax(1), batch.labels])[:, batch.mask].cpu().numpy()
        table = np.zeros((classes, classes))
        np.add.at(table, tuple(pairs), 1)
        return table

    return sum(
        (table for _, table in passes(context.recipe, context.vit, context.train, tasks, threads, count)),
        np.zeros((classes, classes)),
    )
