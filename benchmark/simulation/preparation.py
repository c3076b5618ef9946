"""What seen clients send once before a run: statistics that standardise the final features, and sums for initial heads.

Both are options of the protocol, the same for every method. Statistics are those of the frozen cls feature; features
with prompts are standardised by the same numbers. Held-out clients send nothing. All seen clients receive the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import torch

from fedprompt.benchmark.backbone.standardization import Standardization, standardization
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.context import SimulationContext
from fedprompt.benchmark.simulation.local_training import collect_statistics
from fedprompt.benchmark.simulation.outcome import Outcome
from fedprompt.benchmark.simulation.state import FederationState
from fedprompt.benchmark.simulation.tasks import ClientState, ClientTask
from fedprompt.methods import registry
from fedprompt.methods.base import Backbone, Batch, Method, State
from fedprompt.methods.registry import Recipe

HEAD = "head.weight"
HEADS = {"ncm": "fedncm", "ridge": "fed3r:no-bias"}
"""The training-free method whose head each `--head-init` takes."""
CLIENTS_AT_ONCE = 256
"""Clients whose sums are in memory at a time."""


class FeatureMoments(Method):
    """Sends count, sum and second moments of the frozen cls feature, in fp64."""

    pairs: bool = False
    """Whether to send the second moments of all pairs of features, [D, D], instead of the squares, [D]."""

    def statistics(self, vit: Backbone, batch: Batch, state: State) -> State:
        """Count, sum and second moments of the features of each client's samples."""
        mask = batch.mask.view(len(batch.counts), -1).double()
        z = vit.features(batch).double().view(*mask.shape, vit.dim) * mask.unsqueeze(2)
        second = z.mT @ z if self.pairs else z.square().sum(1)
        return {"count": mask.sum(1, keepdim=True), "sum": z.sum(1), "second": second}


def recipes(context: SimulationContext, state: FederationState) -> dict[str, Recipe]:
    """What defines the sums that seen clients send, by option; without those that the method does not need."""
    settings, found = context.settings, {}
    if settings.standardize != "none":
        found["standardize"] = Recipe("standardize", FeatureMoments(pairs=settings.standardize == "whiten"))
    if settings.head_init in HEADS and heads(context, state):
        found["head_init"] = registry.create(HEADS[settings.head_init])
    return found


def prepare(
    context: SimulationContext, state: FederationState, outcome: Outcome, kept: Standardization | None = None
) -> FederationState:
    """Standardises the run's view of the backbone and sets the initial head.

    Args:
        context: The simulation; its backbone is a view of its own.
        state: The state before round 1, with random heads.
        outcome: Counts what travels and receives a summary.
        kept: The standardisation of the run that this one starts from; clients then send nothing for it.

    Returns:
        The state before round 1 with the chosen heads.
    """
    settings, vit = context.settings, context.vit
    needed, replaced, summary = recipes(context, state), heads(context, state), outcome.preparation
    if kept is not None:
        vit.standardization = replace(kept, mean=kept.mean.to(vit.device), scale=kept.scale.to(vit.device))
    elif "standardize" in needed:
        sums = _collected(context, "standardize", needed["standardize"], outcome)
        found = standardization(*(sums[name] for name in ("count", "sum", "second")))
        vit.standardization = found
        summary |= {"samples": int(sums["count"]), "constant_features": found.constant, "shrinkage": found.shrinkage}
    if settings.head_init != "random":
        summary["heads"] = len(replaced)
    if settings.head_init != "random" and replaced:
        weight = torch.zeros(vit.classes, vit.dim)
        if "head_init" in needed:
            recipe = needed["head_init"]
            weight = recipe.method.apply_statistics({}, _collected(context, "head_init", recipe, outcome))[HEAD]
        vit.initial_head = context.placed({HEAD: weight, "head.bias": torch.zeros(vit.classes)})
        state = FederationState.initial(context)
    shapes = received(context, state)
    outcome.download_bytes += len(context.federation.seen) * received_bytes(shapes)
    outcome.travelling["download"] |= shapes
    return state


def received(context: SimulationContext, state: FederationState) -> dict[str, list[int]]:
    """Shapes of the tensors in fp32 that every seen client receives once, after all have sent their sums."""
    settings, dim, classes, shapes = context.settings, context.vit.dim, context.vit.classes, dict[str, list[int]]()
    if settings.standardize != "none":
        scale = [dim, dim] if settings.standardize == "whiten" else [dim]
        shapes |= {"standardize.mean": [dim], "standardize.scale": scale}
    own = [name for name in heads(context, state) if name in state.initial_local]
    if settings.head_init in HEADS and own and "head.weight" not in state.server.shared:  # which is sent every round
        shapes |= {"head_init.head.weight": [classes, dim], "head_init.head.bias": [classes]}
    return shapes


def received_bytes(shapes: Mapping[str, Sequence[int]]) -> int:
    """Bytes of tensors of these shapes in fp32."""
    return sum(4 * prod(shape) for shape in shapes.values())


def heads(context: SimulationContext, state: FederationState) -> list[str]:
    """Names of the heads among the initial tensors, wherever they are kept; none if the method trains nothing."""
    names = (*state.initial_server, *state.initial_local) if context.trains else ()
    return [name for name in names if name.endswith(HEAD)]


def _collected(context: SimulationContext, option: str, recipe: Recipe, outcome: Outcome) -> State:
    """The sums over all seen clients, which send theirs once."""
    rows, federation, total = ClassRows(recipe.class_rows, context.vit.classes), context.federation, State()
    for start in range(0, len(federation.seen), CLIENTS_AT_ONCE):
        tasks = _tasks(context, federation.seen[start : start + CLIENTS_AT_ONCE].tolist())
        for task, sums in zip(tasks, collect_statistics(recipe, context.vit, context.train, tasks), strict=True):
            outcome.upload_bytes += rows.nbytes(sums)
            outcome.travelling["upload"] |= {f"{option}.{name}": shape for name, shape in rows.shapes(sums).items()}
            rows.add(total, sums, context.class_ids(task.counts.nonzero()[0]))
    return total


def _tasks(context: SimulationContext, clients: list[int]) -> list[ClientTask]:
    federation, empty = context.federation, ClientState({}, {}, {})
    return [
        ClientTask(k, federation.clients[k].train, federation.counts[k], empty, context.streams.numpy("batches", 0, k))
        for k in clients
    ]
