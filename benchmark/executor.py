"""How a round's cohort is computed: client after client, side by side in threads, or fused into one pass.

`sequential` is the reference. `threaded` gives the same bits, since no client's arithmetic is ever split. `fused`
takes float sums in another order. `auto` is a rule on what a method computes, never a race, so that a run has the
same bits wherever it is repeated on one kind of machine.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from benchmark.client import Job, Training, Update, learn
from benchmark.memory import Kept, budget, is_out_of_memory
from benchmark.samples import Samples
from benchmark.vit import FrozenViT
from methods.base import Phase
from methods.registry import Recipe

Kind = Literal["auto", "sequential", "threaded", "fused"]


@dataclass
class Executor:
    """Trains cohorts by the `kind` asked for; `used` says which it came to, and `notes` why, where that is no matter
    of course. `width` is how many clients a fused pass holds at most, found by measuring."""

    kind: Kind = "auto"
    threads: int = 1
    used: str = ""
    width: int | None = None
    notes: list[str] = field(default_factory=list)

    def train(
        self,
        recipe: Recipe,
        vit: FrozenViT,
        samples: Samples,
        jobs: Sequence[Job],
        training: Training,
        phases: Sequence[Phase] | None = None,
    ) -> list[Update]:
        """The updates of a cohort, in its order; of its method's phases unless others are named."""
        if not self.used:
            self._choose(recipe, vit, samples, jobs[0], training, phases)

        def train(chosen: Sequence[Job]) -> list[Update]:
            return learn(recipe, vit, samples, chosen, training, phases)

        if self.used == "fused":
            return self._fused(train, recipe, vit, samples, jobs, training)
        if self.used == "threaded" and len(jobs) > 1:
            with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                updates = list(pool.map(lambda job: train([job]), jobs))
        else:
            updates = [train([job]) for job in jobs]
        return [update for own in updates for update in own]

    def facts(self) -> dict[str, object]:
        """What the record says of it."""
        return {"asked": self.kind, "used": self.used, "fused_clients": self.width, "notes": self.notes}

    def _choose(
        self,
        recipe: Recipe,
        vit: FrozenViT,
        samples: Samples,
        job: Job,
        training: Training,
        phases: Sequence[Phase] | None,
    ) -> None:
        reason = recipe.unfused
        fast = "fused" if vit.device.type == "cuda" else "threaded" if self.threads > 1 else "sequential"
        if self.kind != "auto":
            self.used = self.kind
        elif vit.device.type == "cpu" and not _runs_backbone(recipe, vit, samples, job, training, phases):
            self.used = "fused"  # without a backbone pass a step is all overhead, which fused clients share
        else:
            self.used = fast
        if self.used == "fused" and reason:
            self.used = "sequential" if vit.device.type == "cuda" or self.threads == 1 else "threaded"
            self.notes.append(f"{recipe.name} cannot run fused: {reason}")

    def _fused(
        self,
        train: Callable[[Sequence[Job]], list[Update]],
        recipe: Recipe,
        vit: FrozenViT,
        samples: Samples,
        jobs: Sequence[Job],
        training: Training,
    ) -> list[Update]:
        """The cohort in as few passes as memory holds; who takes equally many steps goes together.

        Out of memory, half as many clients go into a pass from then on. The local batch never changes.
        """
        self.width = self.width or _most(recipe, vit, samples, jobs, training)
        order = sorted(range(len(jobs)), key=lambda k: -jobs[k].steps(training))
        updates: dict[int, Update] = {}
        while len(updates) < len(jobs):
            chosen = order[len(updates) : len(updates) + self.width]
            try:
                found = train([jobs[k] for k in chosen])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(chosen) == 1:
                    raise
                self.width = len(chosen) // 2
                self.notes.append(f"out of memory at {len(chosen)} clients a pass: {self.width} from then on")
                continue
            updates |= dict(zip(chosen, found, strict=True))
        return [updates[k] for k in range(len(jobs))]


def _taste(job: Job, training: Training) -> tuple[Job, Training]:
    """A job of one full batch and no more, repeating a small client's rows."""
    return replace(job, rows=np.resize(job.rows, training.batch_size)), replace(training, epochs=1)


def _runs_backbone(
    recipe: Recipe,
    vit: FrozenViT,
    samples: Samples,
    job: Job,
    training: Training,
    phases: Sequence[Phase] | None,
) -> bool:
    """Whether a training step passes through any layer of the backbone; cached activations do not count."""
    job, training = _taste(job, training)
    learn(recipe, vit, samples, [job], training, phases)  # fills the caches
    before = vit.layers_run
    learn(recipe, vit, samples, [job], training, phases)
    return vit.layers_run > before


def _most(recipe: Recipe, vit: FrozenViT, samples: Samples, jobs: Sequence[Job], training: Training) -> int:
    """How many clients fit a pass: those whose activations take the budget, by what one client's step keeps."""
    job, short = _taste(jobs[0], training)
    with Kept(vit) as kept:
        learn(recipe, vit, samples, [job], short)
    room = budget(vit.device)
    return len(jobs) if room is None else max(1, min(len(jobs), room // max(1, kept.bytes)))
