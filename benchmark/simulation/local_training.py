"""Local training of one client, or of many in one forward and backward pass per step.

Clients share no arithmetic: each has its own tensors, state of the optimiser and batch order. Training many at once
changes when something is computed, not what is computed.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch, Clients, group_rows, rows_per_pass
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.local_optimiser import LOCAL_OPTIMISERS
from fedprompt.benchmark.simulation.optimisers import ClientOptimisers
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate, LocalTraining
from fedprompt.methods.base import Method, Phase, State
from fedprompt.methods.errors import MethodError
from fedprompt.methods.registry import Recipe


def train_clients(
    recipe: Recipe,
    vit: FrozenViT,
    samples: Samples,
    tasks: Sequence[ClientTask],
    training: LocalTraining,
    phases: Sequence[Phase] | None = None,
) -> list[ClientUpdate]:
    """Trains K clients together, each from the state in its task.

    A client that has no batch left leaves the pass: neither momentum nor weight decay changes its tensors any more. The
    tasks are not modified, their generators included.

    Args:
        recipe: The method and its optimisers.
        vit: The frozen backbone.
        samples: The training data.
        tasks: One task per client.
        training: Local training, unless a phase overrides it.
        phases: Phases to train instead of the method's own; nothing is then collected for the server.

    Returns:
        One update per task, in their order.

    Raises:
        FloatingPointError: A training loss is not finite.
    """
    order = sorted(range(len(tasks)), key=lambda k: -len(tasks[k].rows))  # clients with most steps first
    cohort = _Cohort(recipe, vit, samples, [tasks[k] for k in order], training)
    for phase in recipe.method.phases() if phases is None else phases:
        cohort.train(phase)
    updates = cohort.updates(for_server=phases is None)
    return [updates[place] for place in np.argsort(order)]


@torch.no_grad()
def collect_statistics(recipe: Recipe, vit: FrozenViT, samples: Samples, tasks: Sequence[ClientTask]) -> list[State]:
    """Each client's statistics, summed over all of its training data, with the state in its task."""
    method = recipe.method
    if type(method).statistics is Method.statistics:
        return [{} for _ in tasks]
    class_rows = ClassRows(recipe.class_rows, vit.classes)

    def state_of(members: list[int], clients: Clients) -> State:
        return class_rows.gather([tasks[i].state.tensors for i in members], clients)

    return _sum_over_data(method.statistics, vit, samples, tasks, class_rows, state_of)


def client_info(tasks: Sequence[ClientTask], vit: FrozenViT) -> Clients:
    """What a batch needs to know of the clients of these tasks."""
    return Clients.of(np.stack([task.counts for task in tasks]), vit.device)


def _sum_over_data(
    function: Callable[[FrozenViT, Batch, State], State],
    vit: FrozenViT,
    samples: Samples,
    tasks: Sequence[ClientTask],
    class_rows: ClassRows,
    state_of: Callable[[list[int], Clients], State],
) -> list[State]:
    """What `function` returns for each client, summed over all of its training data."""
    sums: list[State] = [{} for _ in tasks]
    for members, rows in group_rows([task.rows for task in tasks], rows_per_pass(vit.device.type, vit.tokens)):
        clients = client_info([tasks[i] for i in members], vit)
        batch = Batch(samples, rows, clients)
        with vit.counting(batch):
            values = function(vit, batch, state_of(members, clients))
        for k, i in enumerate(members):
            for name, value in class_rows.select(values, clients, k).items():
                sums[i][name] = sums[i][name] + value if name in sums[i] else value
    return sums


class _Cohort:
    """Clients that train together, those with more steps first, so that the active ones are always the first A."""

    def __init__(
        self, recipe: Recipe, vit: FrozenViT, samples: Samples, tasks: list[ClientTask], training: LocalTraining
    ) -> None:
        self.recipe, self.method, self.vit, self.samples = recipe, recipe.method, vit, samples
        self.tasks, self.training, self.clients = tasks, training, client_info(tasks, vit)
        self.class_rows = ClassRows(recipe.class_rows, vit.classes)
        self.received = self.class_rows.gather([task.state.tensors for task in tasks], self.clients)
        self.changes_state = type(self.method).after_batch is not Method.after_batch
        self.state = {k: v.clone() for k, v in self.received.items()} if self.changes_state else dict(self.received)
        shared = {name: self.received[name] for name in tasks[0].state.shared}
        self.optimisers = ClientOptimisers(recipe, tasks, self.clients, shared, self.class_rows)
        self.rngs = [deepcopy(task.rng) for task in tasks]
        self.adjusted = not recipe.loss_plugins  # whether the loss plug-in, if there is one, has acted
        self.losses, self.steps = torch.zeros(2, len(tasks), device=vit.device)
        self.images = np.zeros(len(tasks), dtype=np.int64)
        self.notes: dict[str, Tensor] = {}

    def train(self, phase: Phase) -> None:
        """One phase of local training."""
        names = _trained_names(phase, [*self.tasks[0].state.shared, *self.tasks[0].state.local])
        optimiser = LOCAL_OPTIMISERS[self.training.optimizer](self.state, names, self.method, phase, self.training)
        sgd = self.training.optimizer == "sgd"
        adjusts = type(self.method).adjust_gradients is not Method.adjust_gradients
        adjusts_steps = adjusts and self.method.adjusts_steps and not sgd
        before = self.steps.clone()
        for rows, last in self._batches(phase):
            active = len(rows)
            state = self.state if active == len(self.tasks) else {k: v[:active] for k, v in self.state.items()}
            batch = Batch(self.samples, rows, self.clients.first(active))
            batch.phase, batch.loss_plugins = phase, self.recipe.loss_plugins
            batch.received = {name: value[:active] for name, value in self.received.items()}
            with self.vit.counting(batch):
                loss = batch.means(self.method.loss(self.vit, batch, state))
            self.adjusted |= batch.adjusted
            self._log(batch, loss.detach(), rows)
            gradients = optimiser.gradients(self.optimisers.penalised(loss, state, names), active)
            gradients = self.optimisers.adjust_gradients(gradients, state)
            adjust = partial(self.method.adjust_gradients, received=batch.received)
            if adjusts and not adjusts_steps:
                gradients = adjust(gradients)
            optimiser.step(gradients, active, adjust if adjusts_steps else None)
            if last and self.changes_state:
                self._after_batch(state, active)
        steps = [int(count) for count in (self.steps - before).tolist()]
        if sgd:
            self.optimisers.record_phase(dict(zip(names, optimiser.rates, strict=True)), steps, self.training.momentum)

    @torch.no_grad()
    def _after_batch(self, state: State, active: int) -> None:
        for name, value in self.method.after_batch(state).items():
            self.state[name][:active] = value

    def _log(self, batch: Batch, loss: Tensor, rows: list[np.ndarray]) -> None:
        active = len(rows)
        self.losses[:active] += loss
        self.steps[:active] += 1
        self.images[:active] += [len(own) for own in rows]
        for name, values in batch.notes.items():
            sums = self.notes.setdefault(name, torch.zeros_like(self.losses))
            sums[:active] += batch.means(values)

    def _batches(self, phase: Phase) -> Iterator[tuple[list[np.ndarray], bool]]:
        """For each step, the rows of every client that has some left, and whether it is the last step on these rows."""
        size, batches = self.training.batch_size, []
        rngs = [deepcopy(task.rng) for task in self.tasks] if phase.rewind else self.rngs
        for task, rng in zip(self.tasks, rngs, strict=True):
            orders = [rng.permutation(task.rows) for _ in range(phase.epochs or self.training.epochs)]
            batches.append([order[i : i + size] for order in orders for i in range(0, len(order), size)])
        for step in islice(range(len(batches[0])), phase.batches):
            for left in reversed(range(phase.repeats)):
                yield [own[step] for own in batches if step < len(own)], left == 0

    @torch.no_grad()
    def _reports(self) -> list[State]:
        if type(self.method).reports is Method.reports:
            return [{} for _ in self.tasks]

        def state_of(members: list[int], _: Clients) -> State:
            return {name: value[members] for name, value in self.state.items()}

        return _sum_over_data(self.method.reports, self.vit, self.samples, self.tasks, self.class_rows, state_of)

    def updates(self, for_server: bool) -> list[ClientUpdate]:
        """The result of each client; `for_server`, with statistics and reports.

        Raises:
            FloatingPointError: A training loss is not finite.
            MethodError: No training loss is a cross-entropy that a loss plug-in could act on.
        """
        if for_server and not self.adjusted and self.steps.any():
            raise MethodError(
                f"{self.recipe.name}: the loss of {self.method.name} does not use batch.cross_entropy, where a loss "
                f"plug-in acts; drop +{self.recipe.loss_plugins[0].name}."
            )
        steps = self.steps.clamp_min(1)
        losses, notes = (self.losses / steps).tolist(), {k: (v / steps).tolist() for k, v in self.notes.items()}
        for task, loss in zip(self.tasks, losses, strict=True):
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"the training loss of client {task.client} is not finite; lower --lr {self.training.lr}, "
                    "or try --clip-norm 1"
                )
        nothing: list[State] = [{} for _ in self.tasks]
        statistics = collect_statistics(self.recipe, self.vit, self.samples, self.tasks) if for_server else nothing
        reports = self._reports() if for_server else nothing
        final = {name: value.detach() for name, value in self.state.items()}
        optimiser_parts = self.optimisers.finish(final)
        updates = []
        for k, task in enumerate(self.tasks):
            own = self.class_rows.select(final, self.clients, k)
            updates.append(
                ClientUpdate(
                    client=task.client,
                    samples=len(task.rows),
                    classes=np.flatnonzero(task.counts),
                    shared={name: own[name] for name in task.state.shared},
                    local={name: own[name] for name in task.state.local},
                    statistics=statistics[k],
                    reports=reports[k],
                    loss=losses[k],
                    images=int(self.images[k]),
                    notes={name: values[k] for name, values in notes.items()},
                    optimiser_local=optimiser_parts[k][0],
                    optimiser_upload=optimiser_parts[k][1],
                )
            )
        return updates


def _trained_names(phase: Phase, names: list[str]) -> list[str]:
    if phase.trains is None:
        return names
    if unknown := sorted(set(phase.trains) - set(names)):
        raise ValueError(f"a phase trains {unknown}, but the trainable tensors are {names}")
    return list(phase.trains)
