"""Scores clients on their own test data, many clients a pass, with plain and with prior-corrected logits."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch, Clients, passes
from fedprompt.benchmark.simulation.local_training import rows_a_pass
from fedprompt.benchmark.simulation.stacking import stack
from fedprompt.methods.base import State
from fedprompt.methods.registry import Recipe

Sums = dict[str, np.ndarray]
MOST_CLASSES = 200  # of a table by true class: C x C numbers, in every record


@dataclass(frozen=True)
class Subject:
    """A client to score: its test rows, its training class counts (zeros: labels unknown), what it predicts with."""

    client: int
    rows: np.ndarray
    counts: np.ndarray
    state: State
    held_out: bool = False


@dataclass
class Scores:
    """Per subject: right answers (plain, prior-corrected) and test samples, [K] each; sums of diagnostics.

    Over the samples of those that are not held out, by true class: sums [C, C + 1] of rows, their number the last.
    """

    right: np.ndarray
    right_prior: np.ndarray
    total: np.ndarray
    notes: dict[str, np.ndarray] = field(default_factory=dict)
    by_class: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy of each subject, nan without test samples."""
        return _ratio(self.right, self.total)

    @property
    def accuracy_prior(self) -> np.ndarray:
        """The same with prior-corrected logits."""
        return _ratio(self.right_prior, self.total)

    def add_by_class(self, sums: dict[str, np.ndarray]) -> None:
        """Adds what `log_by_class` was handed in a further pass, or in several."""
        for name, table in sums.items():
            self.by_class[name] = self.by_class.get(name, 0) + table

    def means_by_class(self) -> dict[str, list[list[float | None]]]:
        """The mean row of each true class, to four places; None where no sample is of that class."""
        return {
            name: [
                [None] * len(row) if number == 0 else np.round(row / number, 4).tolist()
                for row, number in zip(table[:, :-1], table[:, -1], strict=True)
            ]
            for name, table in self.by_class.items()
        }


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several groups of subjects, in their order."""
    right, right_prior, total = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("right", "right_prior", "total")
    )
    names = {name: None for part in parts for name in part.notes}
    absent = [np.zeros(len(part.total)) for part in parts]
    notes = {
        name: np.concatenate([part.notes.get(name, zeros) for part, zeros in zip(parts, absent, strict=True)])
        for name in names
    }
    scores = Scores(right, right_prior, total, notes)
    for part in parts:
        scores.add_by_class(part.by_class)
    return scores


def _ratio(right: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.where(total > 0, right / np.maximum(total, 1), np.nan)


def score(recipe: Recipe, vit: FrozenViT, samples: Samples, subjects: Sequence[Subject], threads: int = 1) -> Scores:
    """Predictions of every subject on its own rows. The prior correction adds log pi, which masks absent classes;
    it masks alone where the method's logits are no log-odds.

    Passes are shared out over `threads`, which changes no bit: their make-up does not depend on it.
    """
    totals = np.array([len(s.rows) for s in subjects], dtype=np.int64)
    scores = Scores(np.zeros(len(subjects)), np.zeros(len(subjects)), totals)

    def guess(group: tuple[list[int], list[np.ndarray]]) -> tuple[list[int], Sums, Sums]:
        members, rows = group
        return members, *_guess(recipe, vit, samples, [subjects[i] for i in members], rows)

    groups = passes([s.rows for s in subjects], rows_a_pass(vit))
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for members, sums, by_class in (pool.map if threads > 1 else map)(guess, groups):
            np.add.at(scores.right, members, sums.pop("right"))
            np.add.at(scores.right_prior, members, sums.pop("right_prior"))
            for name, values in sums.items():
                np.add.at(scores.notes.setdefault(name, np.zeros(len(subjects))), members, values)
            scores.add_by_class(by_class)
    return scores


@torch.no_grad()
def _guess(
    recipe: Recipe, vit: FrozenViT, samples: Samples, subjects: list[Subject], rows: list[np.ndarray]
) -> tuple[Sums, Sums]:
    """Of one pass: right answers, plain and prior-corrected, and sums of diagnostics, [K] each; sums by true class."""
    clients = Clients.of(np.stack([s.counts for s in subjects]), vit.device)
    state = stack([s.state for s in subjects], clients, recipe.method.class_rows)
    batch = Batch(samples, rows, clients)
    logits = recipe.method.logits(vit, batch, state)
    prior = batch.prior if recipe.method.log_odds else (batch.prior > 0).float()
    corrected = logits + batch.own(prior.log())
    values = {"right": logits.argmax(1) == batch.labels, "right_prior": corrected.argmax(1) == batch.labels}
    sums = {
        name: value.float().masked_fill(~batch.mask, 0).view(len(subjects), -1).sum(1).cpu().numpy()
        for name, value in {**values, **batch.notes}.items()
    }
    return sums, _by_class(batch, subjects)


def _by_class(batch: Batch, subjects: list[Subject]) -> Sums:
    """Sums by true class [C, C + 1] of what `log_by_class` was handed, added up in the order of the samples."""
    classes = batch.prior.shape[1]
    if not batch.by_class or classes > MOST_CLASSES:
        return {}
    seen = torch.tensor([not subject.held_out for subject in subjects], device=batch.mask.device)
    counted = batch.own(seen) & batch.mask
    labels, one = batch.labels[counted].cpu(), torch.ones(int(counted.sum()), 1, dtype=torch.float64)
    return {
        # On the CPU, where adding up takes the same order every time.
        name: torch.zeros(classes, classes + 1, dtype=torch.float64)
        .index_add_(0, labels, torch.cat([values[counted].cpu().double(), one], 1))
        .numpy()
        for name, values in batch.by_class.items()
    }


def summary(accuracy: np.ndarray, total: np.ndarray) -> dict[str, float] | None:
    """Statistics over clients with test data: mean (unweighted), worst, bottom decile (mean of the lowest tenth,
    at least one client), std (population), pooled (over samples), and how many clients; None without any."""
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
