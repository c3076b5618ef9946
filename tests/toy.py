"""A federation small enough to train in a moment: coloured images, a random Vision Transformer, a few clients."""

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
from fedprompt.benchmark.simulation.local_training import client_info
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import ClientTask, ClientUpdate, LocalTraining
from fedprompt.data import federation as federations
from fedprompt.data.dataset import DataSet
from fedprompt.data.federation import Client, Federation
from fedprompt.data.partitions.settings import PartitionSettings
from fedprompt.methods import registry
from fedprompt.methods.base import Method, State

CLASSES, SIDE = 4, 16
COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [190, 190, 60]])
TRAINING = LocalTraining(epochs=2, batch_size=4, lr=0.05, momentum=0.9, weight_decay=0.01)


@cache
def dataset() -> DataSet:
    """60 training and 30 test images of four classes, told apart by their colour under noise."""
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.arange(count) % CLASSES)
        noise = rng.normal(0, 40, (count, SIDE, SIDE, 3))
        return (COLOURS[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8), labels

    (train_x, train_y), (test_x, test_y) = part(60), part(30)
    return DataSet("toy", train_x, train_y, test_x, test_y, ("red", "green", "blue", "yellow"))


def fresh_vit(
    depth: int = 4, classes: int = CLASSES, precision: Precision = "fp32", identity: str | None = None
) -> FrozenViT:
    """A random ViT of width 24 for 16 pixels in patches of 4, its weights scaled so that every layer matters."""
    model = VisionTransformer(img_size=SIDE, patch_size=4, embed_dim=24, depth=depth, num_heads=2, num_classes=0)
    model.pretrained_cfg = {}  # as timm.create_model leaves it, here without a mean and a deviation
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        model.patch_embed.proj.bias.zero_()  # the one that would begin at random
    return FrozenViT("toy", model, classes, precision, identity)


@cache
def vit() -> FrozenViT:
    """The four-layer ViT that tests share; it is frozen, so none of them can spoil it for another."""
    return fresh_vit()


@cache
def train_samples() -> Samples:
    """The training images as the shared ViT sees them."""
    return Samples(dataset().train_x, dataset().train_y, vit())


@cache
def test_samples() -> Samples:
    """The test images as the shared ViT sees them."""
    return Samples(dataset().test_x, dataset().test_y, vit())


def federation(clients: int = 5, held_out: int = 1, alpha: float = 0.5, seed: int = 0) -> Federation:
    """Clients with Dirichlet priors, one of them held out."""
    settings = PartitionSettings("dirichlet", alpha, clients, held_out)
    return federations.build(dataset(), settings, RandomStreams(dataset().identity, "toy", seed).numpy)


def deal(trains: Sequence[Any], tests: Sequence[Any], held_out: Sequence[int] = ()) -> Federation:
    """A federation of clients that hold the training and test rows given, which may overlap."""
    clients = tuple(
        Client(np.asarray(own, np.int64), np.asarray(other, np.int64), k in held_out)
        for k, (own, other) in enumerate(zip(trains, tests, strict=True))
    )
    counts = np.stack([np.bincount(dataset().train_y[c.train], minlength=CLASSES) for c in clients])
    test_counts = np.stack([np.bincount(dataset().test_y[c.test], minlength=CLASSES) for c in clients])
    names, identity = dataset().classes, dataset().identity
    return Federation("toy", identity, PartitionSettings("iid"), names, clients, counts, test_counts, (0, 0), 0.0)


def unequal() -> Federation:
    """Seen clients of 21, 10 and 15 training images, of all classes, of 0 and 1, and of 1 to 3; a held-out one of 14.

    With batches of 8 they take unequal numbers of steps, and every epoch ends in a short batch.
    """
    trains = deal_out([[6, 5, 5, 5], [5, 5, 0, 0], [0, 3, 6, 6], [4, 2, 4, 4]], dataset().train_y)
    tests = deal_out([[2, 2, 2, 2], [3, 3, 0, 0], [0, 1, 3, 3], [3, 2, 2, 2]], dataset().test_y)
    return deal(trains, tests, held_out=[3])


def deal_out(counts: Sequence[Sequence[int]], labels: np.ndarray) -> list[np.ndarray]:
    """Disjoint rows of `labels`, as many of each class for each client as `counts` [K, C] says."""
    ends = np.cumsum(counts, axis=0)
    stock = [np.flatnonzero(labels == c) for c in range(CLASSES)]
    return [
        np.concatenate([stock[c][ends[k, c] - n : ends[k, c]] for c, n in enumerate(own)])
        for k, own in enumerate(counts)
    ]


def rows_of(*classes: int, part: str = "train") -> np.ndarray:
    """The rows of these classes in the training (or test) images, ascending."""
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
) -> Simulator:
    """A method, by its full name, on a toy federation (of five clients unless told), ready to run."""
    protocol = RoundSettings(rounds, participation, eval_every, training)
    streams, recipe = RandomStreams(dataset().identity, "toy", seed), registry.create(method, settings)
    data = train_samples(), test_samples()
    return Simulator(recipe, vit(), *data, of or federation(), streams, protocol, Executor(executor, threads))


def batch_of(method: Method, tasks: Sequence[ClientTask], width: int = 60) -> tuple[Batch, State]:
    """A batch of up to `width` rows per client, and the state of its clients."""
    clients = client_info(tasks, vit())
    batch = Batch(train_samples(), [task.rows[:width] for task in tasks], clients)
    return batch, ClassRows(method.class_rows, CLASSES).gather([task.state.tensors for task in tasks], clients)


def learned(simulator: Simulator, clients: Sequence[int], number: int, kind: Kind = "sequential") -> list[ClientUpdate]:
    """The clients' updates after training from the simulator's current state, which does not change."""
    tasks, context = simulator.make_tasks(clients, number), simulator.context
    return Executor(kind).train(context.recipe, context.vit, context.train, tasks, context.settings.training)
