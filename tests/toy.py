"""A federation that trains in a moment: coloured images, a random Vision Transformer, a few clients."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT, Precision
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.class_rows import ClassRows
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor, Kind
from fedprompt.benchmark.simulation.local_training import client_info, train_clients
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.start import StartState
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate, LocalTraining
from fedprompt.data import federation as federations
from fedprompt.data.dataset import DataSet
from fedprompt.data.federation import Client, Federation
from fedprompt.data.partitions.settings import PartitionSettings
from fedprompt.methods import Method, Phase, State, registry

CLASSES, SIDE = 4, 16
COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [190, 190, 60]])
TRAINING = LocalTraining(epochs=2, batch_size=4, lr=0.05, momentum=0.9, weight_decay=0.01)


@cache
def dataset() -> DataSet:
    """60 training and 30 test images of four classes that differ in colour, with noise."""
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.arange(count) % CLASSES)
        noise = rng.normal(0, 40, (count, SIDE, SIDE, 3))
        return (COLOURS[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8), labels

    return DataSet("toy", *part(60), *part(30), ("red", "green", "blue", "yellow"))


def fresh_vit(
    depth: int = 4, classes: int = CLASSES, precision: Precision = "fp32", identity: str | None = None
) -> FrozenViT:
    """A random ViT of width 24 for 16 px in patches of 4, scaled so that every layer affects the output."""
    model = VisionTransformer(img_size=SIDE, patch_size=4, embed_dim=24, depth=depth, num_heads=2, num_classes=0)
    model.pretrained_cfg = {}  # as timm.create_model does; here without mean and standard deviation
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        model.patch_embed.proj.bias.zero_()  # timm draws it from the global generator
    return FrozenViT("toy", model, classes, precision, identity)


@cache
def vit() -> FrozenViT:
    """The four-layer ViT that tests share. It is frozen, so no test can change it for another."""
    return fresh_vit()


@cache
def train_samples() -> Samples:
    """The training images for the shared ViT."""
    return Samples(dataset().train_x, dataset().train_y, vit())


@cache
def test_samples() -> Samples:
    """The test images for the shared ViT."""
    return Samples(dataset().test_x, dataset().test_y, vit())


def federation(clients: int = 5, held_out: int = 1, alpha: float = 0.5, seed: int = 0) -> Federation:
    """Clients with Dirichlet priors; by default one of five is held out."""
    settings = PartitionSettings("dirichlet", alpha, clients, held_out)
    return federations.build(dataset(), settings, RandomStreams(dataset().identity, "toy", seed).numpy)


def deal(trains: Sequence[Any], tests: Sequence[Any], held_out: Sequence[int] = ()) -> Federation:
    """A federation with the given training and test rows per client; clients may have rows in common."""
    data = dataset()
    clients = tuple(
        Client(np.asarray(train, np.int64), np.asarray(test, np.int64), k in held_out)
        for k, (train, test) in enumerate(zip(trains, tests, strict=True))
    )
    counts = np.stack([np.bincount(data.train_y[c.train], minlength=CLASSES) for c in clients])
    test_counts = np.stack([np.bincount(data.test_y[c.test], minlength=CLASSES) for c in clients])
    settings = PartitionSettings("iid")
    return Federation("toy", data.identity, settings, data.classes, clients, counts, test_counts, (0, 0), 0.0)


def unequal() -> Federation:
    """Seen clients of 21, 10 and 15 training images, of all classes, of 0 and 1, and of 1 to 3; a held-out one of 14.

    With batches of 8, clients take different numbers of steps, and every epoch ends in a short batch.
    """
    trains = deal_out([[6, 5, 5, 5], [5, 5, 0, 0], [0, 3, 6, 6], [4, 2, 4, 4]], dataset().train_y)
    tests = deal_out([[2, 2, 2, 2], [3, 3, 0, 0], [0, 1, 3, 3], [3, 2, 2, 2]], dataset().test_y)
    return deal(trains, tests, held_out=[3])


def deal_out(counts: Sequence[Sequence[int]], labels: np.ndarray) -> list[list[int]]:
    """Disjoint rows of `labels` per client, with the numbers of each class in `counts` [K, C]."""
    rows = [iter(np.flatnonzero(labels == c).tolist()) for c in range(CLASSES)]
    return [[next(rows[c]) for c in range(CLASSES) for _ in range(client[c])] for client in counts]


def rows_of(*classes: int, part: str = "train") -> np.ndarray:
    """The training (or test) rows of these classes, ascending."""
    return np.flatnonzero(np.isin(getattr(dataset(), f"{part}_y"), classes))


def simulator(
    method: str,
    *,
    of: Federation | None = None,
    settings: registry.Settings | None = None,
    seed: int = 0,
    rounds: int = 2,
    participation: float = 1.0,
    eval_every: int = 1,
    threads: int = 1,
    executor: Kind = "auto",
    training: LocalTraining = TRAINING,
    start: StartState | None = None,
    **protocol_options: Any,
) -> Simulator:
    """A run of a method, given by its full name, on a toy federation (default: five clients)."""
    protocol = RoundSettings(rounds, participation, eval_every, training, min_test=1, **protocol_options)
    streams, recipe = RandomStreams(dataset().identity, "toy", seed), registry.create(method, settings)
    data = train_samples(), test_samples()
    return Simulator(recipe, vit(), *data, of or federation(), streams, protocol, Executor(executor, threads), start)


def ran(method: str, **given: Any) -> Simulator:
    """`simulator(...)` after its run."""
    run = simulator(method, **given)
    run.run()
    return run


def train(
    simulator: Simulator,
    tasks: Sequence[ClientTask],
    training: LocalTraining = TRAINING,
    phases: Sequence[Phase] | None = None,
) -> list[ClientUpdate]:
    """The clients' updates after training together from the states in their tasks."""
    context = simulator.context
    return train_clients(context.recipe, context.vit, context.train, tasks, training, phases)


def batch_of(method: Method, tasks: Sequence[ClientTask], width: int = 60) -> tuple[Batch, State]:
    """A batch of up to `width` rows per client, and the state of its clients."""
    clients = client_info(tasks, vit())
    batch = Batch(train_samples(), [task.rows[:width] for task in tasks], clients)
    return batch, ClassRows(method.class_rows, CLASSES).gather([task.state.tensors for task in tasks], clients)


def learned(simulator: Simulator, clients: Sequence[int], number: int, kind: Kind = "sequential") -> list[ClientUpdate]:
    """The clients' updates after training from the simulator's current state, which does not change."""
    tasks, context = simulator.make_tasks(clients, number), simulator.context
    return Executor(kind).train(context.recipe, context.vit, context.train, tasks, context.settings.training)
