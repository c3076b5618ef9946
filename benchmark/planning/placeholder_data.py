"""What a plan is made from: the labels of a data set or its published numbers, and no image at all."""

import threading
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.samples import SMALL, Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.data import registry
from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.datasets.synthetic import client_sizes
from fedprompt.data.errors import DataError
from fedprompt.data.images.decoding import ImageFiles

ABSENT = "absent"
"""The identity, in a plan, of a data set that is not here."""

IN_MEMORY = ("cifar10", "cifar100")  # of the published data sets; the images of the others are mapped files


def identity(name: str, root: Path | None, skip_corrupt: bool = False) -> str:
    """The data set's identity, or `ABSENT` where it is not here. Raises DataError for any other mistake."""
    try:
        return registry.identity(name, root, skip_corrupt)
    except DataError:
        if registry.source(name, root).absent():
            return ABSENT
        raise


def dataset(config: RunConfig) -> tuple[DataSet, bool]:
    """The data set of a run, or one of its published numbers without an image, and whether it is the real one."""
    root = None if config.data_root is None else Path(config.data_root)
    source = registry.source(config.dataset, root)
    if not source.absent():
        return registry.load(config.dataset, root, config.skip_corrupt), True
    return published(source), False


def published(source: registry.Source) -> DataSet:
    """Classes, samples, domains and clients in their published numbers, evenly mixed; real client sizes where shipped.

    Raises DataError where the numbers are not published.
    """
    if source.classes is None or source.train is None or source.test is None:
        raise DataError(
            f"{source.name} is not here, and how many images it has is not known before\n"
            f"`bench data prepare {source.name}` gets it"
        )
    sizes = client_sizes().get(source.name)
    train = source.train if sizes is None else int(sizes.sum())
    names = tuple(map(str, range(source.clients or 0)))
    domains = tuple(f"domain {number}" for number in range(source.domains or 0))
    owners = _shared(train, len(names)) if sizes is None else np.repeat(np.arange(len(sizes)), sizes)
    return DataSet(
        source.name,
        np.zeros((train, 1, 1, 3), np.uint8),
        np.arange(train) % source.classes,
        np.zeros((source.test, 1, 1, 3), np.uint8),
        np.arange(source.test) % source.classes,
        tuple(map(str, range(source.classes))),
        train_domains=_shared(train, len(domains)) if domains else None,
        test_domains=_shared(source.test, len(domains)) if domains else None,
        domains=domains,
        train_clients=owners if names else None,
        client_names=names,
        identity=ABSENT,
    )


def _shared(samples: int, holders: int) -> Array:
    """Each sample's holder int64 [samples], in blocks of equal size."""
    return np.arange(samples) * holders // samples


class BlankSamples(Samples):
    """Labels under black images that take no memory: what a pass costs does not depend on what it sees.

    `held` and `shared` say what `Samples` would keep in each process, and map from files that all share, for what has
    been asked of it so far.
    """

    def __init__(self, dataset: DataSet, part: str, vit: FrozenViT) -> None:
        self.labels = torch.from_numpy(getattr(dataset, f"{part}_y")).to(vit.device)
        self.vit = vit
        self.image_bytes = len(self.labels) * 3 * vit.image_size**2
        self.mapped = dataset.identity == ABSENT and dataset.name not in IN_MEMORY
        self.mapped |= isinstance(getattr(dataset, f"{part}_x"), ImageFiles) or self.image_bytes > SMALL
        self.keeping, self._kept = True, {}
        self._lock = threading.RLock()

    def pixels(self, rows: Tensor) -> Tensor:
        """Black images [B, 3, S, S]."""
        return torch.zeros(len(rows), 3, self.vit.image_size, self.vit.image_size, device=self.vit.device)

    def _all(self, what: tuple[str, int], shape: tuple[int, ...]) -> Tensor:
        """The activations of one image, as those of every row."""
        with self._lock:
            if what not in self._kept:
                self._kept[what] = self._compute(what, torch.zeros(1, dtype=torch.int64)).expand(shape)
            return self._kept[what]

    @torch.no_grad()
    def pass_once(self, images: int) -> None:
        """What `Samples` computes once, for so many images."""
        for what in self._kept:
            self._compute(what, torch.arange(images))

    @property
    def held(self) -> int:
        """Bytes of images that each process keeps for the whole split."""
        return 0 if self.mapped else self.image_bytes

    @property
    def shared(self) -> int:
        """Bytes of images and frozen activations in files that all processes map."""
        return sum(kept.numel() * 4 for kept in self._kept.values()) + (self.image_bytes if self.mapped else 0)
