"""Local training: the update of one client, or of many in one forward and backward pass a step.

Clients never share arithmetic that mixes them: each has its own tensors, momentum and batch order, so training many
at once changes when things are computed, not what.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch, Clients, passes
from fedprompt.benchmark.simulation.optimiser_hooks import ClientOptimisers
from fedprompt.benchmark.simulation.stacking import stack, unstack
from fedprompt.methods.base import Method, Phase, State
from fedprompt.methods.errors import MethodError
from fedprompt.methods.registry import Recipe

TOKENS_A_PASS = {"cpu": 2_048, "cuda": 65_536}
"""Tokens of a pass without gradient: the fastest there (`bench perf`), and a bound on its memory."""


@dataclass(frozen=True)
class LocalTraining:
    """How every client trains, unless a method's phase says otherwise; `clip_norm` bounds each client's gradient."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    clip_norm: float | None = None


def images_trained(phases: Sequence[Phase], samples: int, training: LocalTraining) -> int:
    """Images that pass through the training of a client with so many samples: each as often as a step takes it."""
    size, total = training.batch_size, 0
    for phase in phases:
        batches = [min(size, samples - start) for start in range(0, samples, size)] * (phase.epochs or training.epochs)
        total += phase.repeats * sum(batches[: phase.batches])
    return total


@dataclass(frozen=True)
class ClientTask:
    """One client's local update: its data, the tensors to start from, and the generator of its batch order.

    `shared` and `memory` are what the server sent, to be trained and not; `local` is the client's own. By
    `PLUGIN.TENSOR`, `sent` is what came for the plug-ins and `kept` what the client holds for them.
    """

    client: int
    rows: np.ndarray
    counts: np.ndarray
    shared: State
    memory: State
    local: State
    rng: np.random.Generator
    sent: State = field(default_factory=dict)
    kept: State = field(default_factory=dict)

    def steps(self, training: LocalTraining) -> int:
        """Steps of its epochs, a short last batch of each included."""
        return training.epochs * -(-len(self.rows) // training.batch_size)


@dataclass
class ClientUpdate:
    """What a client ended with. `loss` and `notes` are means over its steps.

    Of the tensors that a method names in `class_rows`, only the rows of the client's own classes are here. For the
    plug-ins, by `PLUGIN.TENSOR`, the client has `kept` some tensors and uploads others (`beside`).
    """

    client: int
    samples: int
    classes: np.ndarray
    shared: State
    local: State
    statistics: State
    reports: State
    loss: float
    images: int
    notes: dict[str, float] = field(default_factory=dict)
    kept: State = field(default_factory=dict)
    beside: State = field(default_factory=dict)


def rows_a_pass(vit: FrozenViT) -> int:
    """Samples in a pass without gradient."""
    return max(16, TOKENS_A_PASS[vit.device.type] // vit.tokens)


def holders(jobs: Sequence[ClientTask], vit: FrozenViT) -> Clients:
    """What batches know of the jobs' clients."""
    return Clients.of(np.stack([job.counts for job in jobs]), vit.device)


@torch.no_grad()
def collect(method: Method, vit: FrozenViT, samples: Samples, jobs: Sequence[ClientTask]) -> list[State]:
    """Each client's statistics over all of its training data, with what it received."""
    if type(method).statistics is Method.statistics:
        return [{} for _ in jobs]

    def state_of(members: list[int], clients: Clients) -> State:
        return _state(method, [jobs[i] for i in members], clients)

    return _sums(method.statistics, method, vit, samples, jobs, state_of)


def _sums(
    call: Callable[[FrozenViT, Batch, State], State],
    method: Method,
    vit: FrozenViT,
    samples: Samples,
    jobs: Sequence[ClientTask],
    state_of: Callable[[list[int], Clients], State],
) -> list[State]:
    """What `call` gives for each client, summed over all of its training data."""
    sums: list[State] = [{} for _ in jobs]
    for members, rows in passes([job.rows for job in jobs], rows_a_pass(vit)):
        clients = holders([jobs[i] for i in members], vit)
        found = call(vit, Batch(samples, rows, clients), state_of(members, clients))
        for k, i in enumerate(members):
            for name, value in unstack(found, clients, k, method.class_rows).items():
                sums[i][name] = sums[i][name] + value if name in sums[i] else value
    return sums


def learn(
    recipe: Recipe,
    vit: FrozenViT,
    samples: Samples,
    jobs: Sequence[ClientTask],
    training: LocalTraining,
    phases: Sequence[Phase] | None = None,
) -> list[ClientUpdate]:
    """Trains K clients in one forward and backward pass a step, each from what it received; updates in their order.

    A client that has no batch left is no longer in the pass: its tensors, momentum and weight decay do not move.
    With `phases` these are trained instead of the method's own, and nothing is gathered for the server. The jobs are
    left as they were, their generators included. Raises `FloatingPointError` when a loss is not finite.
    """
    order = sorted(range(len(jobs)), key=lambda k: -len(jobs[k].rows))  # who takes the most steps comes first
    run = _Cohort(recipe, vit, samples, [jobs[k] for k in order], training)
    for phase in recipe.method.phases() if phases is None else phases:
        run.train(phase)
    updates = run.updates(for_server=phases is None)
    return [updates[place] for place in np.argsort(order)]


class _Cohort:
    """Clients that train together, those with more steps first, so that those still in training are the first A."""

    def __init__(
        self, recipe: Recipe, vit: FrozenViT, samples: Samples, jobs: list[ClientTask], training: LocalTraining
    ) -> None:
        self.recipe, self.method, self.vit, self.samples = recipe, recipe.method, vit, samples
        self.jobs, self.training, self.clients = jobs, training, holders(jobs, vit)
        self.received = _state(self.method, jobs, self.clients)
        self.settles = type(self.method).after_batch is not Method.after_batch
        self.state = {k: v.clone() for k, v in self.received.items()} if self.settles else dict(self.received)
        self.plugins = ClientOptimisers(
            recipe, jobs, self.clients, {name: self.received[name] for name in jobs[0].shared}
        )
        self.rngs = [deepcopy(job.rng) for job in jobs]
        self.losses, self.steps = torch.zeros(2, len(jobs), device=vit.device)
        self.images = np.zeros(len(jobs), dtype=np.int64)
        self.notes: dict[str, Tensor] = {}

    def train(self, phase: Phase) -> None:
        """One phase of local training."""
        names = _trained(phase, [*self.jobs[0].shared, *self.jobs[0].local])
        stepper = _Sgd(self.state, names, self.method.no_decay, phase, self.training)
        directed = type(self.method).adjust_gradients is not Method.adjust_gradients
        before = self.steps.clone()
        for rows, settled in self._schedule(phase):
            active = len(rows)
            state = self.state if active == len(self.jobs) else {k: v[:active] for k, v in self.state.items()}
            batch = Batch(self.samples, rows, self.clients.first(active))
            batch.phase = phase
            loss = batch.means(self.method.loss(self.vit, batch, state))
            self._note(batch, loss.detach(), rows)
            gradients = stepper.gradients(self.plugins.penalised(loss, state, names), active)
            gradients = self.plugins.adjust_gradients(gradients, state)
            if directed:
                received = {name: value[:active] for name, value in self.received.items()}
                gradients = self.method.adjust_gradients(gradients, received)
            stepper.step(gradients, active)
            if settled and self.settles:
                self._settle(state, active)
        taken = [int(steps) for steps in (self.steps - before).tolist()]
        self.plugins.trained(names, taken, stepper.lr, self.training.momentum)

    @torch.no_grad()
    def _settle(self, state: State, active: int) -> None:
        """Puts in place what the method moves of the first `active` clients' state beside the steps."""
        for name, value in self.method.after_batch(state).items():
            self.state[name][:active] = value

    def _note(self, batch: Batch, loss: Tensor, rows: list[np.ndarray]) -> None:
        active = len(rows)
        self.losses[:active] += loss
        self.steps[:active] += 1
        self.images[:active] += [len(own) for own in rows]
        for name, values in batch.notes.items():
            sums = self.notes.setdefault(name, torch.zeros_like(self.losses))
            sums[:active] += batch.means(values)

    def _schedule(self, phase: Phase) -> Iterator[tuple[list[np.ndarray], bool]]:
        """The rows of every step for each client that still has some, and whether it is the last one on them.

        Epochs are shuffled, and a short last batch is kept.
        """
        size, batches = self.training.batch_size, []
        rngs = [deepcopy(job.rng) for job in self.jobs] if phase.rewind else self.rngs
        for job, rng in zip(self.jobs, rngs, strict=True):
            orders = [rng.permutation(job.rows) for _ in range(phase.epochs or self.training.epochs)]
            batches.append([order[i : i + size] for order in orders for i in range(0, len(order), size)])
        for step in islice(range(len(batches[0])), phase.batches):
            for left in reversed(range(phase.repeats)):
                yield [own[step] for own in batches if step < len(own)], left == 0

    @torch.no_grad()
    def _reports(self) -> list[State]:
        if type(self.method).reports is Method.reports:
            return [{} for _ in self.jobs]
        final = self.state
        return _sums(
            self.method.reports,
            self.method,
            self.vit,
            self.samples,
            self.jobs,
            lambda members, _: {name: value[members] for name, value in final.items()},
        )

    def updates(self, for_server: bool) -> list[ClientUpdate]:
        """What each client ended with; `for_server`, with what it gathers for the server beside its tensors."""
        steps = self.steps.clamp_min(1)
        losses, notes = (self.losses / steps).tolist(), {k: (v / steps).tolist() for k, v in self.notes.items()}
        for job, loss in zip(self.jobs, losses, strict=True):
            if not np.isfinite(loss):
                lr = self.training.lr
                raise FloatingPointError(
                    f"the training loss of client {job.client} is not finite; lower --lr {lr}, or try --clip-norm 1"
                )
        nothing: list[State] = [{} for _ in self.jobs]
        statistics = collect(self.method, self.vit, self.samples, self.jobs) if for_server else nothing
        reports = self._reports() if for_server else nothing
        rows = self.method.class_rows
        final = {name: value.detach() for name, value in self.state.items()}
        ends = [unstack(final, self.clients, k, rows) for k in range(len(self.jobs))]
        plugged = self.plugins.ends(final)
        return [
            ClientUpdate(
                client=job.client,
                samples=len(job.rows),
                classes=np.flatnonzero(job.counts),
                shared={name: end[name] for name in job.shared},
                local={name: end[name] for name in job.local},
                statistics=statistics[k],
                reports=reports[k],
                loss=losses[k],
                images=int(self.images[k]),
                notes={name: values[k] for name, values in notes.items()},
                kept=plugged[k][0],
                beside=plugged[k][1],
            )
            for k, (job, end) in enumerate(zip(self.jobs, ends, strict=True))
        ]


class _Sgd:
    """SGD with momentum and weight decay on stacked tensors [K, ...], as `torch.optim.SGD` does for each client."""

    def __init__(self, state: State, names: list[str], no_decay: Sequence[str], phase: Phase, training: LocalTraining):
        self.names, self.training, self.lr = names, training, training.lr if phase.lr is None else phase.lr
        for name, value in state.items():
            state[name] = value.detach().clone().requires_grad_() if name in names else value.detach()
        self.values = [state[name] for name in names]
        self.decays = [0.0 if name in no_decay else training.weight_decay for name in names]
        self.velocities = [torch.zeros_like(value) for value in self.values]

    def gradients(self, losses: Tensor, active: int) -> State:
        """The gradients [active, ...] of the first clients, each of its own loss [active], by name."""
        found = torch.autograd.grad(losses.sum(), self.values, allow_unused=True)
        if unused := [name for name, gradient in zip(self.names, found, strict=True) if gradient is None]:
            raise MethodError(f"the loss does not depend on {', '.join(unused)}, which a phase trains.")
        return {name: gradient[:active] for name, gradient in zip(self.names, found, strict=True)}

    @torch.no_grad()
    def step(self, gradients: State, active: int) -> None:
        """One step of the first `active` clients along their gradients [active, ...]."""
        if self.training.clip_norm is not None:
            gradients = _clipped(gradients, self.training.clip_norm)
        for name, value, decay, velocity in zip(self.names, self.values, self.decays, self.velocities, strict=True):
            gradient, value, velocity = gradients[name], value[:active], velocity[:active]
            if decay:
                gradient = gradient.add(value, alpha=decay)
            velocity.mul_(self.training.momentum).add_(gradient)
            value.sub_(velocity, alpha=self.lr)


def _clipped(gradients: State, limit: float) -> State:
    """Gradients [A, ...] of A clients, each client's scaled so that its norm over all tensors is at most `limit`."""
    norms = torch.stack([value.square().reshape(len(value), -1).sum(1) for value in gradients.values()]).sum(0).sqrt()
    factors = limit / norms.clamp_min(limit)
    return {name: value * factors.view(-1, *[1] * (value.dim() - 1)) for name, value in gradients.items()}


def _trained(phase: Phase, names: list[str]) -> list[str]:
    if phase.trains is None:
        return names
    unknown = set(phase.trains) - set(names)
    if unknown:
        raise ValueError(f"a phase trains {sorted(unknown)}, but the trainable tensors are {names}")
    return list(phase.trains)


def _state(method: Method, jobs: Sequence[ClientTask], clients: Clients) -> State:
    """All tensors of the jobs' clients, [K, ...]."""
    parts = [
        stack([getattr(j, part) for j in jobs], clients, method.class_rows) for part in ("shared", "memory", "local")
    ]
    return {name: value for part in parts for name, value in part.items()}
