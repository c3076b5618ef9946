"""Placeholder data for plans: labels of the data set, or its published sizes, and blank images."""

import threading
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.samples import MAX_IN_MEMORY, Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.planning.absent_data import ABSENT
from fedprompt.data import loading, registry
from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.datasets.synthetic import client_sizes
from fedprompt.data.errors import DataError
from fedprompt.data.images.decoding import ImageFiles

IN_MEMORY = ("cifar10", "cifar100")  # published data sets whose images are arrays; the others are mapped files


def dataset(config: RunConfig) -> tuple[DataSet, bool]:
    """Returns the data set of a run, or a placeholder of its published size, and whether it is the real one."""
    root = None if config.data_root is None else Path(config.data_root)
    source = registry.source(config.dataset, root)
    if not source.absent():
        return loading.load(config.dataset, root, config.skip_corrupt), True
    return placeholder(source), False


def placeholder(source: registry.Source) -> DataSet:
    """Returns a data set with the published numbers of classes, samples, domains and clients, evenly mixed.

    Client sizes are the real ones if they are shipped with the package.

    Raises:
        DataError: the numbers are not published.
    """
    if source.classes is None or source.train is None or source.test is None:
        raise DataError(
            f"{source.name} is not installed and its number of images is not published\n"
            f"`bench data prepare {source.name}` downloads it"
        )
    sizes = client_sizes().get(source.name)
    train = source.train if sizes is None else int(sizes.sum())
    names = tuple(map(str, range(source.clients or 0)))
    domains = tuple(f"domain {number}" for number in range(source.domains or 0))
    owners = _blocks(train, len(names)) if sizes is None else np.repeat(np.arange(len(sizes)), sizes)
    return DataSet(
        source.name,
        np.zeros((train, 1, 1, 3), np.uint8),
        np.arange(train) % source.classes,
        np.zeros((source.test, 1, 1, 3), np.uint8),
        np.arange(source.test) % source.classes,
        tuple(map(str, range(source.classes))),
        train_domains=_blocks(train, len(domains)) if domains else None,
        test_domains=_blocks(source.test, len(domains)) if domains else None,
        domains=domains,
        train_clients=owners if names else None,
        client_names=names,
        identity=ABSENT,
    )


def _blocks(samples: int, groups: int) -> Array:
    """Group number of each sample, int64 [samples], in blocks of equal size."""
    return np.arange(samples) * groups // samples


class BlankSamples(Samples):
    """Labels with black images that take no memory. The cost of a pass does not depend on the pixels.

    `process_bytes` and `shared_bytes` are what `Samples` would use for the passes computed so far.
    """

    def __init__(self, dataset: DataSet, part: str, vit: FrozenViT) -> None:
        self.labels = torch.from_numpy(getattr(dataset, f"{part}_y")).to(vit.device)
        self.vit = vit
        self.image_bytes = len(self.labels) * 3 * vit.image_size**2
        self.mapped = dataset.identity == ABSENT and dataset.name not in IN_MEMORY
        self.mapped |= isinstance(getattr(dataset, f"{part}_x"), ImageFiles) or self.image_bytes > MAX_IN_MEMORY
        self._cached = {}
        self._lock = threading.RLock()

    def pixels(self, rows: Tensor) -> Tensor:
        """Returns black images [B, 3, S, S]."""
        return torch.zeros(len(rows), 3, self.vit.image_size, self.vit.image_size, device=self.vit.device)

    def _stored(self, what: tuple[str, int], shape: tuple[int, ...]) -> Tensor:
        """The activations of one image, expanded to all cached rows."""
        with self._lock:
            if what not in self._cached:
                self._cached[what] = self._compute(what, torch.zeros(1, dtype=torch.int64)).expand(shape)
            return self._cached[what]

    @torch.no_grad()
    def pass_once(self, images: int) -> None:
        """Computes the cached activations for this number of images."""
        for what in self._cached:
            self._compute(what, torch.arange(images))

    @property
    def process_bytes(self) -> int:
        """Bytes of images that each process holds for the whole split."""
        return 0 if self.mapped else self.image_bytes

    @property
    def shared_bytes(self) -> int:
        """Bytes of images and frozen activations in files that all processes map."""
        return sum(cached.numel() * 4 for cached in self._cached.values()) + (self.image_bytes if self.mapped else 0)
