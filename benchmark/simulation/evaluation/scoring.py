"""Scores clients on their own test data, many clients per pass, with plain and with prior-corrected logits.

The corrected logits are logits / T + log prior. `calibration` chooses the temperature T afterwards, so that each client
is scored at all temperatures of a grid at once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch, Clients, group_rows, priors, rows_per_pass
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.outcome import Summary
from fedprompt.benchmark.simulation.tasks import ClientState
from fedprompt.methods.base import State
from fedprompt.methods.registry import Recipe

Sums = dict[str, np.ndarray]
T = TypeVar("T")
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
        right_prior: Correct predictions with prior-corrected logits at each temperature, [K, T].
        total: Number of samples, [K].
        notes: Sums of logged diagnostics, [K] each.
        by_class: Sums of logged rows by true class over seen clients, [C, C + 1]; the last column counts samples.
        losses: Sum of what `calibration.losses` returns for these clients, [T].
    """

    right: np.ndarray
    right_prior: np.ndarray
    total: np.ndarray
    notes: Sums = field(default_factory=dict)
    by_class: Sums = field(default_factory=dict)
    losses: np.ndarray = field(default_factory=lambda: np.zeros(()))

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy per client, NaN without samples."""
        return _ratio(self.right, self.total)

    def accuracy_prior(self, place: int) -> np.ndarray:
        """The same with logits corrected at the temperature at this place."""
        return _ratio(self.right_prior[:, place], self.total)

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
    scores = Scores(right, right_prior, total, notes, losses=sum((part.losses for part in parts), np.zeros(())))
    for part in parts:
        scores.add_by_class(part.by_class)
    return scores


def _ratio(right: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.where(total > 0, right / np.maximum(total, 1), np.nan)


def score(
    recipe: Recipe,
    vit: FrozenViT,
    samples: Samples,
    tasks: Sequence[ScoringTask],
    threads: int = 1,
    temperatures: Sequence[float] = (),
    smoothing: float = 0.0,
) -> Scores:
    """Scores every client on its own rows of `samples`.

    Args:
        recipe, vit, samples: The method, the backbone and the data.
        tasks: One task per client.
        threads: Passes computed in parallel. Their number changes no bit.
        temperatures: Each divides the logits before the log prior is added.
        smoothing: Samples of each class added to a client's class counts for that prior. With 0, the correction also
            excludes the classes that the client does not have.
    """
    total = np.array([len(task.rows) for task in tasks], dtype=np.int64)
    scores = Scores(np.zeros(len(tasks)), np.zeros((len(tasks), len(temperatures))), total)

    def count_pass(batch: Batch, logits: Tensor, own: list[ScoringTask]) -> tuple[Sums, Sums]:
        prior = batch.own(log_prior(batch.counts, smoothing))
        corrected = [logits / temperature + prior for temperature in temperatures]
        right = torch.stack([values.argmax(1) == batch.labels for values in (logits, *corrected)], 1)
        return _client_sums(batch, {"right": right.float(), **batch.notes}), _sums_by_class(batch, own)

    for members, (sums, by_class) in passes(recipe, vit, samples, tasks, threads, count_pass):
        right = sums.pop("right")
        np.add.at(scores.right, members, right[:, 0])
        np.add.at(scores.right_prior, members, right[:, 1:])
        for name, values in sums.items():
            np.add.at(scores.notes.setdefault(name, np.zeros(len(tasks))), members, values)
        scores.add_by_class(by_class)
    return scores


def passes(
    recipe: Recipe,
    vit: FrozenViT,
    samples: Samples,
    tasks: Sequence[ScoringTask],
    threads: int,
    count: Callable[[Batch, Tensor, list[ScoringTask]], T],
) -> Iterator[tuple[list[int], T]]:
    """Predicts every client's rows, pass by pass, in a fixed order.

    Yields:
        Positions of the tasks in a pass, and what `count` returns for its batch, logits and tasks.
    """

    @torch.no_grad()  # gradient mode is per thread
    def one_pass(group: tuple[list[int], list[np.ndarray]]) -> tuple[list[int], T]:
        """One pass of the generator."""
        members, rows = group
        own = [tasks[i] for i in members]
        clients = Clients.of(np.stack([task.counts for task in own]), vit.device)
        state = ClassRows(recipe.class_rows, vit.classes).gather([task.state.tensors for task in own], clients)
        batch = Batch(samples, rows, clients)
        with vit.counting(batch):
            logits = recipe.method.logits(vit, batch, state)
        return members, count(batch, logits, own)

    groups = group_rows([task.rows for task in tasks], rows_per_pass(vit.device.type, vit.tokens))
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from (pool.map if threads > 1 else map)(one_pass, groups)


def log_prior(counts: Tensor, smoothing: float) -> Tensor:
    """Logarithms of class shares [K, C] from class counts, each increased by `smoothing`."""
    return priors(counts + smoothing).log()


def _client_sums(batch: Batch, values: State) -> Sums:
    """Sums of per-sample values [B, ...] over each client's samples, [K, ...]."""
    padding = ~batch.mask

    def total(value: Tensor) -> np.ndarray:
        kept = value.masked_fill(padding.view(-1, *[1] * (value.dim() - 1)), 0)
        return kept.view(batch.clients, batch.width, *value.shape[1:]).sum(1).cpu().numpy()

    return {name: total(value) for name, value in values.items()}


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


def summary(accuracy: np.ndarray, total: np.ndarray, min_test: int = 1) -> Summary | None:
    """Statistics over the clients that have samples; None without any.

    Args:
        accuracy: Accuracy per client.
        total: Number of samples per client.
        min_test: Samples that a client needs to count for the worst client and the lowest tenth: the accuracy of a
            client with few samples is mostly noise, and the lowest of many is mostly the noisiest.

    Returns:
        mean (unweighted), worst, bottom_decile (mean of the lowest tenth, at least one client; both None where no
        client has `min_test` samples), std (population), pooled (over samples), the number of clients, and how many of
        them have too few samples (`too_few`).
    """
    known = total > 0
    if not known.any():
        return None
    values, tested = accuracy[known], np.sort(accuracy[known & (total >= min_test)])
    lowest = tested[: max(1, round(len(tested) / 10))]
    return {
        "mean": float(values.mean()),
        "worst": float(tested[0]) if len(tested) else None,
        "bottom_decile": float(lowest.mean()) if len(tested) else None,
        "std": float(values.std()),
        "pooled": float((values * total[known]).sum() / total[known].sum()),
        "clients": int(known.sum()),
        "too_few": int(known.sum()) - len(tested),
    }
