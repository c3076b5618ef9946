"""Computes the local training of a cohort: client after client, side by side in threads, or fused into one pass.

`sequential` is the reference. `threaded` gives the same bits, since no client's arithmetic is ever split. `fused` takes
float sums in another order. `auto` decides by what a method computes and never by timing, so that a run has the same
bits on every machine of one kind: on a CPU it fuses only steps without a backbone pass, which fit any memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.hardware.memory import SavedActivations, is_out_of_memory, memory_budget
from fedprompt.benchmark.simulation.local_training import train_clients
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate, LocalTraining
from fedprompt.methods.base import Phase
from fedprompt.methods.registry import Recipe

Kind = Literal["auto", "sequential", "threaded", "fused"]


@dataclass
class Executor:
    """Trains cohorts.

    Attributes:
        kind: What was asked for.
        threads: Clients that train side by side under `threaded`.
        used: What `kind` resolved to; empty before the first cohort.
        width: Largest number of clients in a fused pass; measured at the first one, lower once memory was short.
        notes: Reasons for choices that differ from what was asked for.
        halvings: How often earlier attempts at this run were out of memory; each halves `width`.
    """

    kind: Kind = "auto"
    threads: int = 1
    used: str = ""
    width: int | None = None
    notes: list[str] = field(default_factory=list)
    halvings: int = 0

    def train(
        self,
        recipe: Recipe,
        vit: FrozenViT,
        samples: Samples,
        tasks: Sequence[ClientTask],
        training: LocalTraining,
        phases: Sequence[Phase] | None = None,
    ) -> list[ClientUpdate]:
        """The updates of a cohort, in its order; see `train_clients` for the arguments."""
        job = _Job(recipe, vit, samples, training, phases)
        if not self.used:
            self._choose(job, tasks[0])
        if self.used == "fused":
            return self._fused(job, tasks)
        if self.used == "threaded" and len(tasks) > 1:
            with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                updates = list(pool.map(lambda task: job.train([task]), tasks))
        else:
            updates = [job.train([task]) for task in tasks]
        return [update for own in updates for update in own]

    def summary(self) -> dict[str, object]:
        """The part of the record about execution."""
        return {"asked": self.kind, "used": self.used, "fused_clients": self.width, "notes": self.notes}

    def _choose(self, job: _Job, task: ClientTask) -> None:
        cuda, reason = job.vit.device.type == "cuda", job.recipe.not_fusible
        unfused = "threaded" if self.threads > 1 and not cuda else "sequential"
        if self.kind != "auto":
            self.used = self.kind
        elif cuda or not job.runs_backbone(task):
            self.used = "fused"  # without a backbone pass a step is all overhead, which fused clients share
        else:
            self.used = unfused
        if self.used == "fused" and reason:
            self.used = unfused
            self.notes.append(f"{job.recipe.name} cannot run fused: {reason}")

    def _fused(self, job: _Job, tasks: Sequence[ClientTask]) -> list[ClientUpdate]:
        """Trains the cohort in as few passes as memory allows, clients with equally many steps together.

        Out of memory, later passes take half as many clients. The local batch never changes.
        """
        self.width = self.width or self._initial_width(job, tasks)
        order = sorted(range(len(tasks)), key=lambda k: -job.training.steps(len(tasks[k].rows)))
        updates: dict[int, ClientUpdate] = {}
        while len(updates) < len(tasks):
            chosen = order[len(updates) : len(updates) + self.width]
            try:
                trained = job.train([tasks[k] for k in chosen])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(chosen) == 1:
                    raise
                self.width = len(chosen) // 2
                self.notes.append(f"out of memory with {len(chosen)} clients per pass: {self.width} from then on")
                continue
            updates |= dict(zip(chosen, trained, strict=True))
        return [updates[k] for k in range(len(tasks))]

    def _initial_width(self, job: _Job, tasks: Sequence[ClientTask]) -> int:
        most = job.clients_that_fit(tasks)
        if not self.halvings:
            return most
        fewer = max(1, most >> self.halvings)
        self.notes.append(f"out of memory in an earlier attempt: {fewer} clients per pass instead of {most}")
        return fewer


@dataclass(frozen=True)
class _Job:
    """The arguments of local training that all clients of a cohort share."""

    recipe: Recipe
    vit: FrozenViT
    samples: Samples
    training: LocalTraining
    phases: Sequence[Phase] | None

    def train(self, tasks: Sequence[ClientTask]) -> list[ClientUpdate]:
        """The updates of a cohort, see `train_clients`."""
        return train_clients(self.recipe, self.vit, self.samples, tasks, self.training, self.phases)

    def one_step(self, task: ClientTask) -> None:
        """Takes one step on a batch, or all rows of a smaller client, and discards the result."""
        rows, needed = task.rows[: self.training.batch_size], self.vit.layers_needed
        replace(self, training=replace(self.training, epochs=1)).train([replace(task, rows=rows)])
        self.vit.layers_needed = needed  # a trial is no part of the run

    def runs_backbone(self, task: ClientTask) -> bool:
        """Whether a training step passes through any layer of the backbone; cached activations do not count."""
        self.one_step(task)  # fills the caches
        before = self.vit.layers_run
        self.one_step(task)
        return self.vit.layers_run > before

    def clients_that_fit(self, tasks: Sequence[ClientTask]) -> int:
        """How many clients fit a pass, by the memory that a step of the largest client keeps."""
        with SavedActivations(self.vit.model) as saved:
            self.one_step(max(tasks, key=lambda task: len(task.rows)))
        return max(1, min(len(tasks), memory_budget(self.vit.device) // max(1, saved.bytes)))
