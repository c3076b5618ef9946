"""Batches of K clients with the same number of rows each; implements `fedprompt.methods.base.Batch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.methods.base import Phase, State
from fedprompt.methods.optimiser import LossPlugin

TOKENS_PER_PASS = {"cpu": 2_048, "cuda": 65_536}
"""Tokens in a pass without gradient, by device: the fastest number there (`bench perf`), and a bound on memory."""


@dataclass(frozen=True)
class Clients:
    """What a batch needs to know of its K clients.

    A client without labels counts as one that has every class, with equal shares.

    Attributes:
        counts: Training samples per class, [K, C].
        prior: Class shares, [K, C].
        classes: Ids of each client's classes, ascending and padded to the largest number of classes, [K, M].
        valid: False where `classes` is padding, [K, M].
    """

    counts: Tensor
    prior: Tensor
    classes: Tensor
    valid: Tensor

    @classmethod
    def of(cls, counts: np.ndarray, device: torch.device) -> Clients:
        """Clients with these class counts, [K, C]."""
        present = (counts > 0) | (counts.sum(1, keepdims=True) == 0)
        most = int(present.sum(1).max())
        order = np.argsort(~present, axis=1, kind="stable")[:, :most]
        parts = counts.astype(np.float32), np.ascontiguousarray(order), np.take_along_axis(present, order, 1)
        numbers, classes, valid = (torch.from_numpy(part).to(device) for part in parts)
        return cls(numbers, priors(numbers), classes, valid)

    def __len__(self) -> int:
        return len(self.counts)

    def first(self, number: int) -> Clients:
        """The first `number` of them."""
        if number == len(self):
            return self
        return Clients(self.counts[:number], self.prior[:number], self.classes[:number], self.valid[:number])


def priors(counts: Tensor) -> Tensor:
    """Class shares [K, C] from class counts [K, C]; uniform for a client without labels."""
    total = counts.sum(1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp_min(1), torch.full_like(counts, 1 / counts.shape[1]))


class Batch:
    """Samples of K clients, client after client, padded to B = K x width rows.

    Args:
        samples: The data that `rows` point into.
        rows: Positions of each client's samples.
        info: What the batch needs to know of these clients.

    Attributes:
        samples_in: Number of rows that are samples and no padding.
        rows, labels, mask: Position and class of each row, and whether it is a sample and no padding, [B].
        counts, prior: See `Clients`, [K, C].
        classes: See `Clients`, [K, M].
        loss_plugins: Change the logits of the training loss; empty unless a client trains.
        adjusted: Whether they have changed any.
        notes, by_class: What was passed to `log` and `log_by_class`.
    """

    def __init__(self, samples: Samples, rows: Sequence[np.ndarray], info: Clients) -> None:
        self.samples, self.info = samples, info
        self.counts, self.prior, self.classes = info.counts, info.prior, info.classes
        self.clients, self.width = len(rows), max(len(r) for r in rows)
        self.samples_in = sum(map(len, rows))
        device = samples.vit.device
        self.full = all(len(r) == self.width for r in rows)
        if self.full:
            self.rows = torch.from_numpy(np.concatenate(rows))
            self.mask = torch.ones(len(self.rows), dtype=torch.bool, device=device)
        else:
            # Padding repeats row 0 of the data: any image will do, since the mask excludes it from every sum.
            padded, mask = np.zeros((2, self.clients, self.width), dtype=np.int64)
            for k, own in enumerate(rows):
                padded[k, : len(own)], mask[k, : len(own)] = own, 1
            self.rows = torch.from_numpy(padded.ravel())
            self.mask = torch.from_numpy(mask.ravel() > 0).to(device, non_blocking=True)
        self.labels = samples.labels[self.rows.to(device, non_blocking=True)]
        self.phase: Phase | None = None
        self.received: State = {}
        self.loss_plugins: Sequence[LossPlugin] = ()
        self.adjusted = False
        self.notes: dict[str, Tensor] = {}
        self.by_class: dict[str, Tensor] = {}

    def own(self, value: Tensor) -> Tensor:
        """Expands [K, ...] to [B, ...]: the value of each sample's own client."""
        if self.clients == 1:
            return value.expand(self.width, *value.shape[1:])
        return value.unsqueeze(1).expand(-1, self.width, *value.shape[1:]).flatten(0, 1)

    def held(self, value: Tensor) -> Tensor:
        """Reduces [K, C] to [K, M]: the values of each client's classes, zero where padded."""
        return value.gather(1, self.classes) * self.info.valid

    def matmul(self, x: Tensor, value: Tensor) -> Tensor:
        """Multiplies [B, ..., n] by the matrix [K, n, m] of each sample's own client, giving [B, ..., m]."""
        out = torch.bmm(x.reshape(self.clients, -1, x.shape[-1]), value)
        return out.view(*x.shape[:-1], -1)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Applies the layer of each sample's own client to [B, D]: weight [K, C, D], bias [K, C], giving [B, C]."""
        if self.clients == 1:
            return functional.linear(x, weight[0], bias[0])
        grouped = x.reshape(self.clients, self.width, -1)
        return torch.baddbmm(bias.unsqueeze(1), grouped, weight.transpose(1, 2)).flatten(0, 1)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Cross-entropy of logits [B, C] with the labels, per sample, [B]."""
        for plugin in self.loss_plugins:
            logits, self.adjusted = plugin.adjust_logits(self, logits), True
        return functional.cross_entropy(logits, self.labels, reduction="none")

    def class_sums(self, values: Tensor) -> Tensor:
        """Sums values [B, D] over the samples of each client and class, giving [K, M, D]."""
        is_of = self.labels.view(self.clients, 1, self.width) == self.classes.unsqueeze(2)
        is_of = is_of & self.mask.view(self.clients, 1, self.width) & self.info.valid.unsqueeze(2)
        return torch.bmm(is_of.to(values.dtype), values.reshape(self.clients, self.width, -1))

    def means(self, values: Tensor) -> Tensor:
        """Means of per-sample values [B] over each client's samples, [K]."""
        if self.full:
            return values.view(self.clients, self.width).mean(1)
        # Filling, not multiplying: a masked row may be infinite.
        values = values.masked_fill(~self.mask, 0).view(self.clients, self.width)
        return values.sum(1) / self.mask.view(self.clients, self.width).sum(1).clamp_min(1)

    def log(self, name: str, values: Tensor) -> None:
        """Logs a diagnostic per sample, [B]; the round's row gets its mean."""
        self.notes[name] = values.detach()

    def log_by_class(self, name: str, values: Tensor) -> None:
        """Logs a row per sample, [B, C]; the record gets its means by true class."""
        self.by_class[name] = values.detach()


def rows_per_pass(device: str, tokens: int) -> int:
    """Samples in a pass without gradient, of so many tokens each."""
    return max(16, TOKENS_PER_PASS[device] // tokens)


def group_rows(rows: Sequence[np.ndarray], limit: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Splits the rows of many clients into passes.

    Args:
        rows: Positions of each client's samples.
        limit: Largest number of rows of a pass, padding included.

    Yields:
        The clients of a pass and their rows. A client with more rows than `limit` appears in several passes.
    """
    pieces = [(i, own[start : start + limit]) for i, own in enumerate(rows) for start in range(0, len(own), limit)]
    pieces.sort(key=lambda piece: len(piece[1]))  # neighbours of like length need little padding
    group: list[tuple[int, np.ndarray]] = []
    for piece in pieces:
        if group and (len(group) + 1) * len(piece[1]) > limit:
            yield [i for i, _ in group], [own for _, own in group]
            group = []
        group.append(piece)
    if group:
        yield [i for i, _ in group], [own for _, own in group]
