"""A federation that trains in a moment, for `bench check`: coloured images, a random ViT, four unequal clients."""

from functools import cache

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.context import RoundSettings
from fedprompt.benchmark.simulation.executor import Executor, Kind
from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.benchmark.simulation.simulator import Simulator
from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.data.dataset import DataSet
from fedprompt.data.federation import Client, Federation
from fedprompt.data.partitions.settings import PartitionSettings
from fedprompt.methods.registry import Recipe

COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [190, 190, 60]])
CLASSES, SIDE = len(COLOURS), 16
TRAIN = ((6, 5, 5, 5), (5, 5, 0, 0), (0, 3, 6, 6), (4, 2, 4, 4))
TEST = ((4, 4, 4, 4), (6, 6, 0, 0), (0, 2, 6, 6), (3, 2, 2, 2))
"""Samples of each class at each client: in batches of 8 they take unequal steps, each epoch ends in a short batch."""
SEEN = (0, 1, 2)
TRAINING = LocalTraining(epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.01)


@cache
def dataset() -> DataSet:
    """Images of four classes, told apart by their colour under noise: as many as the clients hold."""
    rng = np.random.default_rng(0)

    def part(counts: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
        labels = np.concatenate([np.repeat(np.arange(CLASSES), own) for own in counts])
        noise = rng.normal(0, 40, (len(labels), SIDE, SIDE, 3))
        return (COLOURS[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8), labels

    return DataSet("toy", *part(TRAIN), *part(TEST), ("red", "green", "blue", "yellow"))


def vit(depth: int = 4) -> FrozenViT:
    """A random ViT of width 24 for 16 pixels in patches of 4, its weights scaled so that every layer matters."""
    model = VisionTransformer(img_size=SIDE, patch_size=4, embed_dim=24, depth=depth, num_heads=2, num_classes=0)
    model.pretrained_cfg = {}  # as timm.create_model leaves it, here without a mean and a deviation
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1, generator=generator)  # timm leaves one to the global generator
    return FrozenViT("toy", model, CLASSES)


def federation() -> Federation:
    """Three seen clients of 21, 10 and 15 training images and a held-out one of 14, in the order of the data set."""

    def rows(counts: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
        sizes = [sum(own) for own in counts]
        return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])

    clients = tuple(
        Client(train, test, k not in SEEN) for k, (train, test) in enumerate(zip(rows(TRAIN), rows(TEST), strict=True))
    )
    made = dataset()
    settings = PartitionSettings("iid", clients=len(clients), held_out=1)
    return Federation(
        "toy", made.identity, settings, made.classes, clients, np.array(TRAIN), np.array(TEST), (0, 0), 0.0
    )


def simulator(
    recipe: Recipe, frozen: FrozenViT, rounds: int = 3, kind: Kind = "sequential", training: LocalTraining = TRAINING
) -> Simulator:
    """A run of all three seen clients each round, ready to start; evaluated after every one."""
    made = dataset()
    train, test = Samples(made.train_x, made.train_y, frozen), Samples(made.test_x, made.test_y, frozen)
    streams, settings = RandomStreams(made.identity, "toy", 0), RoundSettings(rounds, 1.0, 1, training)
    return Simulator(recipe, frozen, train, test, federation(), streams, settings, Executor(kind))
