"""Scores clients on their own test data, many clients per pass, with plain and with prior-corrected logits."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch, Clients, group_rows, rows_per_pass
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.tasks import ClientState
from fedprompt.methods.registry import Recipe

Sums = dict[str, np.ndarray]
MOST_CLASSES = 200
"""Data sets with more classes get no table by true class: it would put C x C numbers into every record."""


@dataclass(frozen=True)
class ScoringTask:
    """One client to score.

    Attributes:
        client: Index of the client.
        rows: The samples to predict.
        counts: Its training samples per class, [C]; zeros where its labels count as unknown.
        state: The tensors that it predicts with.
        held_out: Whether training never samples it.
    """

    client: int
    rows: np.ndarray
    counts: np.ndarray
    state: ClientState
    held_out: bool = False


@dataclass
class Scores:
    """Scores of K clients.

    Attributes:
        right: Correct predictions, [K].
        right_prior: Correct predictions with prior-corrected logits, [K].
        total: Number of samples, [K].
        notes: Sums of logged diagnostics, [K] each.
        by_class: Sums of logged rows by true class over seen clients, [C, C + 1]; the last column counts samples.
    """

    right: np.ndarray
    right_prior: np.ndarray
    total: np.ndarray
    notes: Sums = field(default_factory=dict)
    by_class: Sums = field(default_factory=dict)

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy per client, NaN without samples."""
        return _ratio(self.right, self.total)

    @property
    def accuracy_prior(self) -> np.ndarray:
        """The same with prior-corrected logits."""
        return _ratio(self.right_prior, self.total)

    def add_by_class(self, sums: Sums) -> None:
        """Adds the sums by true class of another pass."""
        for name, table in sums.items():
            self.by_class[name] = self.by_class.get(name, 0) + table

    def means_by_class(self) -> dict[str, list[list[float | None]]]:
        """Mean row of each true class, to four decimals; None for a class without samples."""
        return {
            name: [
                [None] * len(row) if number == 0 else np.round(row / number, 4).tolist()
                for row, number in zip(table[:, :-1], table[:, -1], strict=True)
            ]
            for name, table in self.by_class.items()
        }


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several groups of clients, in their order."""
    right, right_prior, total = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("right", "right_prior", "total")
    )
    names = dict.fromkeys(name for part in parts for name in part.notes)
    notes = {
        name: np.concatenate([part.notes.get(name, np.zeros(len(part.total))) for part in parts]) for name in names
    }
    scores = Scores(right, right_prior, total, notes)
    for part in parts:
        scores.add_by_class(part.by_class)
    return scores


def _ratio(right: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.where(total > 0, right / np.maximum(total, 1), np.nan)


def score(recipe: Recipe, vit: FrozenViT, samples: Samples, tasks: Sequence[ScoringTask], threads: int = 1) -> Scores:
    """Scores every client on its own rows of `samples`.

    The prior correction adds the log of the client's class shares to the logits, which also masks absent classes. Where
    the method's logits are no log-odds it only masks. Passes are computed in `threads` threads, which changes no bit.
    """
    totals = np.array([len(task.rows) for task in tasks], dtype=np.int64)
    scores = Scores(np.zeros(len(tasks)), np.zeros(len(tasks)), totals)

    def score_pass(group: tuple[list[int], list[np.ndarray]]) -> tuple[list[int], Sums, Sums]:
        members, rows = group
        return members, *_score_pass(recipe, vit, samples, [tasks[i] for i in members], rows)

    groups = group_rows([task.rows for task in tasks], rows_per_pass(vit.device.type, vit.tokens))
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for members, sums, by_class in (pool.map if threads > 1 else map)(score_pass, groups):
            np.add.at(scores.right, members, sums.pop("right"))
            np.add.at(scores.right_prior, members, sums.pop("right_prior"))
            for name, values in sums.items():
                np.add.at(scores.notes.setdefault(name, np.zeros(len(tasks))), members, values)
            scores.add_by_class(by_class)
    return scores


@torch.no_grad()
def _score_pass(
    recipe: Recipe, vit: FrozenViT, samples: Samples, tasks: list[ScoringTask], rows: list[np.ndarray]
) -> tuple[Sums, Sums]:
    """Of one pass, correct predictions and sums of diagnostics, [K] each, and sums by true class."""
    clients = Clients.of(np.stack([task.counts for task in tasks]), vit.device)
    state = ClassRows(recipe.class_rows, vit.classes).gather([task.state.tensors for task in tasks], clients)
    batch = Batch(samples, rows, clients)
    logits = recipe.method.logits(vit, batch, state)
    prior = batch.prior if recipe.method.log_odds else (batch.prior > 0).float()
    corrected = logits + batch.own(prior.log())
    values = {"right": logits.argmax(1) == batch.labels, "right_prior": corrected.argmax(1) == batch.labels}
    sums = {
        name: value.float().masked_fill(~batch.mask, 0).view(len(tasks), -1).sum(1).cpu().numpy()
        for name, value in {**values, **batch.notes}.items()
    }
    return sums, _sums_by_class(batch, tasks)


def _sums_by_class(batch: Batch, tasks: list[ScoringTask]) -> Sums:
    """Sums by true class, [C, C + 1], of what was passed to `log_by_class`, added in the order of the samples."""
    classes = batch.prior.shape[1]
    if not batch.by_class or classes > MOST_CLASSES:
        return {}
    seen = torch.tensor([not task.held_out for task in tasks], device=batch.mask.device)
    counted = batch.own(seen) & batch.mask
    labels, one = batch.labels[counted].cpu(), torch.ones(int(counted.sum()), 1, dtype=torch.float64)
    return {
        # on the CPU, where a sum takes the same order every time
        name: torch.zeros(classes, classes + 1, dtype=torch.float64)
        .index_add_(0, labels, torch.cat([values[counted].cpu().double(), one], 1))
        .numpy()
        for name, values in batch.by_class.items()
    }


def summary(accuracy: np.ndarray, total: np.ndarray) -> dict[str, float] | None:
    """Statistics over the clients that have samples; None without any.

    Args:
        accuracy: Accuracy per client.
        total: Number of samples per client.

    Returns:
        mean (unweighted), worst, bottom_decile (mean of the lowest tenth, at least one client), std (population),
        pooled (over samples), and the number of clients.
    """
    known = total > 0
    if not known.any():
        return None
    values = np.sort(accuracy[known])
    lowest = values[: max(1, round(len(values) / 10))]
    return {
        "mean": float(values.mean()),
        "worst": float(values[0]),
        "bottom_decile": float(lowest.mean()),
        "std": float(values.std()),
        "pooled": float((accuracy[known] * total[known]).sum() / total[known].sum()),
        "clients": int(known.sum()),
    }
