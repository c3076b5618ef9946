"""A small federation for `bench check`: coloured images, a random ViT, four clients of different sizes."""

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
"""Samples per client and class. With batches of 8, clients take different numbers of steps and end in short batches."""
SEEN = (0, 1, 2)
TRAINING = LocalTraining(epochs=2, batch_size=8, lr=0.05, momentum=0.9, weight_decay=0.01)


@cache
def dataset() -> DataSet:
    """Returns noisy images of four classes that differ in colour, sorted by client and class."""
    rng = np.random.default_rng(0)

    def part(counts: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, np.ndarray]:
        labels = np.tile(np.arange(CLASSES), len(counts)).repeat(np.ravel(counts))
        noise = rng.normal(0, 40, (len(labels), SIDE, SIDE, 3))
        return (COLOURS[labels][:, None, None] + noise).clip(0, 255).astype(np.uint8), labels

    return DataSet("toy", *part(TRAIN), *part(TEST), ("red", "green", "blue", "yellow"))


def vit(depth: int = 4) -> FrozenViT:
    """Returns a random ViT of width 24 for 16 px in patches of 4, scaled so that every layer affects the output."""
    model = VisionTransformer(img_size=SIDE, patch_size=4, embed_dim=24, depth=depth, num_heads=2, num_classes=0)
    model.pretrained_cfg = {}  # as timm.create_model does; here without mean and standard deviation
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1, generator=generator)  # timm draws one of them from the global generator
    return FrozenViT("toy", model, CLASSES)


def federation() -> Federation:
    """Returns three seen clients of 21, 10 and 15 training images and a held-out client of 14."""

    def rows(counts: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
        return np.split(np.arange(np.sum(counts)), np.cumsum(np.sum(counts, axis=1))[:-1])

    clients = tuple(
        Client(train, test, k not in SEEN) for k, (train, test) in enumerate(zip(rows(TRAIN), rows(TEST), strict=True))
    )
    data, settings = dataset(), PartitionSettings("iid", clients=len(clients), held_out=1)
    counts, test_counts = np.array(TRAIN), np.array(TEST)
    return Federation("toy", data.identity, settings, data.classes, clients, counts, test_counts, (0, 0), 0.0)


def simulator(
    recipe: Recipe, frozen: FrozenViT, rounds: int = 3, kind: Kind = "sequential", training: LocalTraining = TRAINING
) -> Simulator:
    """Returns a run of all three seen clients per round, evaluated after each round."""
    data = dataset()
    train, test = Samples(data.train_x, data.train_y, frozen), Samples(data.test_x, data.test_y, frozen)
    streams = RandomStreams(data.identity, "toy", 0)
    settings = RoundSettings(
        rounds, 1.0, 1, training, personal_epochs=min(1, rounds), min_test=1
    )  # none before round 1
    return Simulator(recipe, frozen, train, test, federation(), streams, settings, Executor(kind))
