"""How a round's cohort is computed: client after client, side by side in threads, or fused into one pass.

`sequential` is the reference. `threaded` gives the same bits, since no client's arithmetic is ever split. `fused`
takes float sums in another order. `auto` is a rule on what a method computes, never a race, so that a run has the
same bits wherever it is repeated on one kind of machine: on a CPU it fuses only steps without a backbone pass, which
fit any memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.hardware.memory import SavedActivations, is_out_of_memory, memory_budget
from fedprompt.benchmark.simulation.local_training import ClientTask, ClientUpdate, LocalTraining, learn
from fedprompt.methods.base import Phase
from fedprompt.methods.registry import Recipe

Kind = Literal["auto", "sequential", "threaded", "fused"]


@dataclass
class Executor:
    """Trains cohorts by the `kind` asked for; `used` says which it came to, and `notes` why, where that is no matter
    of course. `width` is how many clients a fused pass holds at most: measured, and halved `halvings` times."""

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
        jobs: Sequence[ClientTask],
        training: LocalTraining,
        phases: Sequence[Phase] | None = None,
    ) -> list[ClientUpdate]:
        """The updates of a cohort, in its order; of its method's phases unless others are named."""
        work = _Work(recipe, vit, samples, training, phases)
        if not self.used:
            self._choose(work, jobs[0])
        if self.used == "fused":
            return self._fused(work, jobs)
        if self.used == "threaded" and len(jobs) > 1:
            with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                updates = list(pool.map(lambda job: work.learn([job]), jobs))
        else:
            updates = [work.learn([job]) for job in jobs]
        return [update for own in updates for update in own]

    def facts(self) -> dict[str, object]:
        """What the record says of it."""
        return {"asked": self.kind, "used": self.used, "fused_clients": self.width, "notes": self.notes}

    def _choose(self, work: _Work, job: ClientTask) -> None:
        cuda, reason = work.vit.device.type == "cuda", work.recipe.not_fusible
        apart = "threaded" if self.threads > 1 and not cuda else "sequential"
        if self.kind != "auto":
            self.used = self.kind
        elif cuda or not work.runs_backbone(job):
            self.used = "fused"  # without a backbone pass a step is all overhead, which fused clients share
        else:
            self.used = apart
        if self.used == "fused" and reason:
            self.used = apart
            self.notes.append(f"{work.recipe.name} cannot run fused: {reason}")

    def _fused(self, work: _Work, jobs: Sequence[ClientTask]) -> list[ClientUpdate]:
        """The cohort in as few passes as memory holds; who takes equally many steps goes together.

        Out of memory, half as many clients go into a pass from then on. The local batch never changes.
        """
        self.width = self.width or self._widest(work, jobs)
        order = sorted(range(len(jobs)), key=lambda k: -jobs[k].steps(work.training))
        updates: dict[int, ClientUpdate] = {}
        while len(updates) < len(jobs):
            chosen = order[len(updates) : len(updates) + self.width]
            try:
                found = work.learn([jobs[k] for k in chosen])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(chosen) == 1:
                    raise
                self.width = len(chosen) // 2
                self.notes.append(f"out of memory at {len(chosen)} clients a pass: {self.width} from then on")
                continue
            updates |= dict(zip(chosen, found, strict=True))
        return [updates[k] for k in range(len(jobs))]

    def _widest(self, work: _Work, jobs: Sequence[ClientTask]) -> int:
        most = work.most(jobs)
        if not self.halvings:
            return most
        fewer = max(1, most >> self.halvings)
        self.notes.append(f"out of memory in an earlier attempt: {fewer} clients a pass instead of {most}")
        return fewer


@dataclass(frozen=True)
class _Work:
    """What is to be trained, on what and how, whoever trains it."""

    recipe: Recipe
    vit: FrozenViT
    samples: Samples
    training: LocalTraining
    phases: Sequence[Phase] | None

    def learn(self, jobs: Sequence[ClientTask]) -> list[ClientUpdate]:
        return learn(self.recipe, self.vit, self.samples, jobs, self.training, self.phases)

    def taste(self, job: ClientTask) -> None:
        """A step of one full batch and no more, repeating a small client's rows."""
        rows = np.resize(job.rows, self.training.batch_size)
        replace(self, training=replace(self.training, epochs=1)).learn([replace(job, rows=rows)])

    def runs_backbone(self, job: ClientTask) -> bool:
        """Whether a training step passes through any layer of the backbone; cached activations do not count."""
        self.taste(job)  # fills the caches
        before = self.vit.layers_run
        self.taste(job)
        return self.vit.layers_run > before

    def most(self, jobs: Sequence[ClientTask]) -> int:
        """How many clients fit a pass: those whose activations take the budget, by what one client's step keeps."""
        with SavedActivations(self.vit.model) as kept:
            self.taste(jobs[0])
        budget = memory_budget(self.vit.device)
        return max(1, min(len(jobs), budget // max(1, kept.bytes)))
