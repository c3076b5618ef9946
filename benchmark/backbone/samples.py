"""One split of a data set as one backbone sees it: resized once, its frozen activations computed once."""

import hashlib
import json
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from fedprompt.benchmark.backbone import activations
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware.devices import kernels, processors
from fedprompt.data.files.memory_mapped import Array, MappedArray, default_folder
from fedprompt.data.images import cache
from fedprompt.data.images.decoding import ImageFiles

NORMALIZATIONS = {  # mean and std of each channel, of pixels from 0 to 1
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
CHUNK = 256  # images resized at a time
SMALL = 64 * 2**20  # bytes of resized images that every process makes for itself
DEVICE_SHARE = 4  # of a GPU's free memory, that one array may take for good


class Samples:
    """Images and labels of one split, addressed by row. Random order and many readers are fine.

    `identity` names the split to the caches on disk; without one, what is computed is kept in memory.
    """

    def __init__(
        self,
        images: np.ndarray | ImageFiles,
        labels: np.ndarray,
        vit: FrozenViT,
        normalize: str = "backbone",
        identity: str | None = None,
    ) -> None:
        self.vit = vit
        stamp = cache.file_stamp(images) if isinstance(images, ImageFiles) else ""
        self.images = self._placed(_sized(images, vit.image_size, identity, stamp))  # uint8 [N, S, S, 3]
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(vit.device)
        mean, std = normalization(normalize, vit)
        named = None not in (identity, vit.identity)
        facts = {"split": identity, "files": stamp, "backbone": vit.identity, "normalize": normalize}
        self.facts = facts | {"kernels": kernels(vit.device)} if named else None
        self._mean = torch.tensor(mean, device=vit.device).view(3, 1, 1) * 255
        self._std = torch.tensor(std, device=vit.device).view(3, 1, 1) * 255
        self.keeping = True
        self._kept: dict[tuple[str, int], Tensor] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.labels)

    def expect(self, rows: int) -> None:
        """Says how many rows a run will read in all. Where it reads less than half of a split, activations are computed
        as they are asked for, since the others would be computed in vain."""
        self.keeping = 2 * rows >= len(self)

    def pixels(self, rows: Tensor) -> Tensor:
        """Normalised images [B, 3, S, S] on the backbone's device."""
        images = self._take(self.images, rows).permute(0, 3, 1, 2).contiguous()
        return (images - self._mean) / self._std

    @torch.no_grad()
    def tokens(self, rows: Tensor, layer: int = 1) -> Tensor:
        """Frozen tokens [B, T, D] entering `layer`, without any prompt; kept for the whole split where they fit."""
        shape = (len(self), self.vit.tokens, self.vit.dim)
        if not (self.keeping and activations.fits(shape)):
            return self._tokens(rows, layer)
        return self._take(self._all(("tokens", layer), shape), rows)

    @torch.no_grad()
    def features(self, rows: Tensor, layer: int | None = None) -> Tensor:
        """Frozen cls features [B, D] without any prompt, or cls entering `layer`; kept for the whole split."""
        what, shape = ("cls", layer or self.vit.depth + 1), (len(self), self.vit.dim)
        if not (self.keeping and activations.fits(shape)):
            return self._cls(rows, what[1])
        return self._take(self._all(what, shape), rows)

    def _all(self, what: tuple[str, int], shape: tuple[int, ...]) -> Tensor:
        """Activations of the whole split; the first to ask computes them, once a machine."""
        with self._lock:
            if what not in self._kept:
                identity = json.dumps([self.facts, *what], sort_keys=True) if self.facts else None
                threads = processors() if self.vit.device.type == "cpu" else 1
                found = activations.kept(identity, shape, lambda rows: self._compute(what, rows), threads)
                self._kept[what] = self._placed(found)
            return self._kept[what]

    def _compute(self, what: tuple[str, int], rows: Tensor) -> Tensor:
        kind, layer = what
        return self._tokens(rows, layer) if kind == "tokens" else self._cls(rows, layer)

    def _tokens(self, rows: Tensor, layer: int) -> Tensor:
        if layer == 1:
            return self.vit.tokens_of(self.pixels(rows))
        return self.vit.layers(self._entering(rows), 1, layer - 1)

    def _cls(self, rows: Tensor, layer: int) -> Tensor:
        """cls entering `layer`; past the last one, after the final norm."""
        if layer > self.vit.depth:
            return self.vit.encode(self._entering(rows))
        return self.vit.layers(self._entering(rows), 1, layer - 1)[:, 0]

    def _entering(self, rows: Tensor) -> Tensor:
        """Tokens entering layer 1: those kept if some are, since keeping them only for this would not pay."""
        found = self._kept.get(("tokens", 1)) if self.keeping else None
        return self._tokens(rows, 1) if found is None else self._take(found, rows)

    def _placed(self, values: Tensor) -> Tensor:
        """The same on the backbone's GPU where it takes no more than its share of the memory there."""
        if self.vit.device.type != "cuda" or values.nbytes > torch.cuda.mem_get_info()[0] // DEVICE_SHARE:
            return values
        return values.to(self.vit.device)

    def _take(self, values: Tensor, rows: Tensor) -> Tensor:
        """Rows of an array on the backbone's device; the copy to a GPU goes on while the host prepares the next."""
        if values.device.type == "cpu" and self.vit.device.type == "cuda":
            return values[rows.cpu()].pin_memory().to(self.vit.device, non_blocking=True)
        return values[rows.to(values.device)]


def normalization(name: str, vit: FrozenViT) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std by name; `backbone` is what the weights were trained with. Raises `ConfigError` for another name."""
    if name == "backbone":
        return tuple(vit.mean), tuple(vit.std)
    if name not in NORMALIZATIONS:
        raise ConfigError(f"--normalize {name}: unknown; there are backbone, {', '.join(NORMALIZATIONS)}.")
    return NORMALIZATIONS[name]


def _sized(images: np.ndarray | ImageFiles, size: int, identity: str | None, stamp: str) -> Tensor:
    if isinstance(images, ImageFiles):
        return torch.from_numpy(cache.load_decoded(images, size, stamp=stamp))
    if images.shape[1:3] == (size, size):
        return torch.from_numpy(np.ascontiguousarray(images))
    shape = (len(images), size, size, 3)
    if identity is None or int(np.prod(shape)) <= SMALL:
        return torch.from_numpy(np.concatenate(list(_resized(images, size))))
    name = hashlib.sha256(f"{identity} {size}".encode()).hexdigest()[:24]
    place = default_folder() / "resized" / f"{name}.npy"
    array = MappedArray(place, f"images at {size} px", shape, np.dtype(np.uint8), {"of": identity})
    return torch.from_numpy(array.get(lambda: _resized(images, size)))


def _resized(images: np.ndarray, size: int) -> Iterator[Array]:
    """Blocks uint8 [n, size, size, 3], bicubic with antialiasing; unequal sides are stretched."""
    for start in range(0, len(images), CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK])).permute(0, 3, 1, 2)
        part = transforms.resize(part, [size, size], transforms.InterpolationMode.BICUBIC, antialias=True)
        yield part.permute(0, 2, 3, 1).contiguous().numpy()
