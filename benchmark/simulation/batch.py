"""A batch of K clients, the same number of rows for each; satisfies `fedprompt.methods.base.Batch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.methods.base import Phase


@dataclass(frozen=True)
class Clients:
    """What a batch knows of its K clients: class `counts` and shares `prior` [K, C], and which `classes` each holds.

    `classes` [K, M] are the ids of each client's classes, ascending, `owned` [K, M] false where a client with fewer
    than M is filled up. A client without labels is taken to hold every class, each with the same share.
    """

    counts: Tensor
    prior: Tensor
    classes: Tensor
    owned: Tensor

    @classmethod
    def of(cls, counts: np.ndarray, device: torch.device) -> Clients:
        """Clients with these class counts [K, C]."""
        holds = (counts > 0) | (counts.sum(1, keepdims=True) == 0)
        most = int(holds.sum(1).max())
        order = np.argsort(~holds, axis=1, kind="stable")[:, :most]
        parts = counts.astype(np.float32), np.ascontiguousarray(order), np.take_along_axis(holds, order, 1)
        numbers, classes, owned = (torch.from_numpy(part).to(device) for part in parts)
        return cls(numbers, priors(numbers), classes, owned)

    def __len__(self) -> int:
        return len(self.counts)

    def first(self, number: int) -> Clients:
        """The first so many of them."""
        if number == len(self):
            return self
        return Clients(self.counts[:number], self.prior[:number], self.classes[:number], self.owned[:number])


def priors(counts: Tensor) -> Tensor:
    """Class shares [K, C] from class counts [K, C]; uniform for a client without labels."""
    total = counts.sum(1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp_min(1), torch.full_like(counts, 1 / counts.shape[1]))


class Batch:
    """Rows of K clients, laid out client after client; rows that only fill up are masked out.

    Attributes: samples; rows, labels, mask [B]; counts, prior [K, C]; classes [K, M]; notes and by_class, what `log`
    and `log_by_class` were handed.
    """

    def __init__(self, samples: Samples, rows: Sequence[np.ndarray], holders: Clients) -> None:
        self.samples, self.holders = samples, holders
        self.counts, self.prior, self.classes = holders.counts, holders.prior, holders.classes
        self.clients, self.width = len(rows), max(len(r) for r in rows)
        device = samples.vit.device
        self.full = all(len(r) == self.width for r in rows)
        if self.full:
            self.rows = torch.from_numpy(np.concatenate(rows))
            self.mask = torch.ones(len(self.rows), dtype=torch.bool, device=device)
        else:
            # A short client repeats row 0 of the data: any image will do, since the mask takes it out of every sum.
            padded, mask = np.zeros((2, self.clients, self.width), dtype=np.int64)
            for k, own in enumerate(rows):
                padded[k, : len(own)], mask[k, : len(own)] = own, 1
            self.rows = torch.from_numpy(padded.ravel())
            self.mask = torch.from_numpy(mask.ravel() > 0).to(device, non_blocking=True)
        self.labels = samples.labels[self.rows.to(device, non_blocking=True)]
        self.phase: Phase | None = None
        self.notes: dict[str, Tensor] = {}
        self.by_class: dict[str, Tensor] = {}

    def own(self, value: Tensor) -> Tensor:
        """[K, ...] to [B, ...]: each sample's own client's value."""
        if self.clients == 1:
            return value.expand(self.width, *value.shape[1:])
        return value.unsqueeze(1).expand(-1, self.width, *value.shape[1:]).flatten(0, 1)

    def held(self, value: Tensor) -> Tensor:
        """[K, C] to [K, M]: a value per class for the classes that each client holds, zero where it is filled up."""
        return value.gather(1, self.classes) * self.holders.owned

    def matmul(self, x: Tensor, value: Tensor) -> Tensor:
        """[B, ..., n] by each sample's own client's [K, n, m], giving [B, ..., m]."""
        out = torch.bmm(x.reshape(self.clients, -1, x.shape[-1]), value)
        return out.view(*x.shape[:-1], -1)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """[B, D] through each sample's own client's layer, weight [K, C, D] and bias [K, C]."""
        if self.clients == 1:
            return functional.linear(x, weight[0], bias[0])
        grouped = x.reshape(self.clients, self.width, -1)
        return torch.baddbmm(bias.unsqueeze(1), grouped, weight.transpose(1, 2)).flatten(0, 1)

    def class_sums(self, values: Tensor) -> Tensor:
        """Sums [K, M, D] of real rows' values [B, D] per client and class that it holds."""
        is_of = self.labels.view(self.clients, 1, self.width) == self.classes.unsqueeze(2)
        is_of = is_of & self.mask.view(self.clients, 1, self.width) & self.holders.owned.unsqueeze(2)
        return torch.bmm(is_of.to(values.dtype), values.reshape(self.clients, self.width, -1))

    def means(self, values: Tensor) -> Tensor:
        """The mean [K] over each client's real rows of per-sample values [B]."""
        if self.full:
            return values.view(self.clients, self.width).mean(1)
        # Filling, not multiplying: a masked row may be infinite.
        values = values.masked_fill(~self.mask, 0).view(self.clients, self.width)
        return values.sum(1) / self.mask.view(self.clients, self.width).sum(1).clamp_min(1)

    def log(self, name: str, values: Tensor) -> None:
        """Keeps a per-sample diagnostic [B] for the round's log."""
        self.notes[name] = values.detach()

    def log_by_class(self, name: str, values: Tensor) -> None:
        """Keeps a per-sample row [B, C] for the record's means by true class."""
        self.by_class[name] = values.detach()


def passes(rows: Sequence[np.ndarray], limit: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Groups of (owner, rows) whose padded size stays within `limit` rows; those of a long owner come in pieces."""
    pieces = [(i, own[start : start + limit]) for i, own in enumerate(rows) for start in range(0, len(own), limit)]
    pieces.sort(key=lambda piece: len(piece[1]))  # neighbours of like length waste little padding
    group: list[tuple[int, np.ndarray]] = []
    for piece in pieces:
        if group and (len(group) + 1) * len(piece[1]) > limit:
            yield [i for i, _ in group], [own for _, own in group]
            group = []
        group.append(piece)
    if group:
        yield [i for i, _ in group], [own for _, own in group]
