"""Images and labels of one split as one backbone reads them: resized once, frozen activations computed once."""

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
from fedprompt.benchmark.hardware.memory import free_memory
from fedprompt.data.files.memory_mapped import Array, MappedArray, default_folder
from fedprompt.data.images import cache
from fedprompt.data.images.decoding import ImageFiles

NORMALIZATIONS = {  # mean and standard deviation per channel, for pixels in [0, 1]
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
CHUNK = 256  # images resized at a time
MAX_IN_MEMORY = 64 * 2**20  # bytes of resized images up to which each process resizes for itself
DEVICE_SHARE = 4  # an array is placed on the GPU if it takes at most 1/4 of the free memory there


class Samples:
    """Images and labels of one split, addressed by row number. Safe for concurrent readers.

    Args:
        images: uint8 [N, H, W, 3], or image files.
        labels: [N] class numbers.
        vit: The backbone that reads the images.
        normalize: `backbone` or a key of `NORMALIZATIONS`.
        identity: Names the split in the disk caches. None: activations are kept in memory only.

    Raises:
        ConfigError: `normalize` is unknown.
    """

    caching = True
    own: Tensor | None = None  # the sorted rows that the caches are limited to; None: the whole split

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
        self.images = self._place(_resized_images(images, vit.image_size, identity, stamp))  # uint8 [N, S, S, 3]
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(vit.device)
        mean, std = normalization(normalize, vit)
        facts = {"split": identity, "files": stamp, "backbone": vit.identity, "normalize": normalize}
        self.cache_key = None if None in (identity, vit.identity) else facts | {"kernels": kernels(vit.device)}
        self._mean = torch.tensor(mean, device=vit.device).view(3, 1, 1) * 255
        self._std = torch.tensor(std, device=vit.device).view(3, 1, 1) * 255
        self._cached: dict[tuple[str, int], Tensor] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.labels)

    def expect(self, reads: int, rows: Array) -> None:
        """Announces how many rows a run reads in total, and which rows these are.

        If it reads half as many as the split has, activations are cached for the whole split; else for its own rows, if
        it reads as many as these are. Other runs share both. Fewer reads are not worth a cache.
        """
        whole, distinct = 2 * reads >= len(self), torch.from_numpy(np.unique(rows))
        self.caching = whole or reads >= len(distinct) > 0
        own = distinct if self.caching and not whole else None
        if own is self.own or (own is not None and self.own is not None and torch.equal(own, self.own)):
            return
        self.own, self._cached = own, {}

    def pixels(self, rows: Tensor) -> Tensor:
        """Returns normalised images [B, 3, S, S] on the backbone's device."""
        images = self._take(self.images, rows).permute(0, 3, 1, 2).contiguous()
        return (images - self._mean) / self._std

    @torch.no_grad()
    def tokens(self, rows: Tensor, layer: int = 1) -> Tensor:
        """Returns tokens [B, T, D] entering `layer` without prompts; cached where they fit."""
        return self._activations(("tokens", layer), (self.vit.tokens, self.vit.dim), rows)

    @torch.no_grad()
    def features(self, rows: Tensor, layer: int | None = None) -> Tensor:
        """Returns the cls feature [B, D] without prompts, or the cls token entering `layer`; cached likewise."""
        return self._activations(("cls", layer or self.vit.depth + 1), (self.vit.dim,), rows)

    def _activations(self, kind: tuple[str, int], each: tuple[int, ...], rows: Tensor) -> Tensor:
        shape = (len(self) if self.own is None else len(self.own), *each)
        places = self._places(rows)
        if places is None or not (self.caching and activations.fits(shape)):
            return self._compute(kind, rows)
        return self._take(self._stored(kind, shape), places)

    def _places(self, rows: Tensor) -> Tensor | None:
        """Where the caches have these rows; None if some were not announced."""
        if self.own is None:
            return rows
        wanted = rows.cpu()
        places = torch.searchsorted(self.own, wanted).clamp_max(len(self.own) - 1)
        return places if torch.equal(self.own[places], wanted) else None

    def _stored(self, kind: tuple[str, int], shape: tuple[int, ...]) -> Tensor:
        """Returns activations of all cached rows; the first call per machine computes them."""
        with self._lock:
            if kind not in self._cached:
                own = self.own
                part = [] if own is None else [hashlib.sha256(own.numpy().tobytes()).hexdigest()]
                identity = json.dumps([self.cache_key, *kind, *part], sort_keys=True) if self.cache_key else None
                threads = processors() if self.vit.device.type == "cpu" else 1
                values = activations.load_or_compute(
                    identity, shape, lambda places: self._compute(kind, places if own is None else own[places]), threads
                )
                self._cached[kind] = self._place(values)
            return self._cached[kind]

    def _compute(self, kind: tuple[str, int], rows: Tensor) -> Tensor:
        """Computes tokens or cls entering a layer; past the last layer, cls after the final norm."""
        what, layer = kind
        if kind == ("tokens", 1):
            return self.vit.tokens_of(self.pixels(rows))
        x = self._cached_tokens(rows)
        if x is None:
            x = self._compute(("tokens", 1), rows)
        if what == "cls" and layer > self.vit.depth:
            return self.vit.run_outputs(x, 1)[:, 0]
        x = self.vit.run_layers(x, 1, layer - 1)
        return x if what == "tokens" else x[:, 0]

    def _cached_tokens(self, rows: Tensor) -> Tensor | None:
        """The tokens entering layer 1 if they are cached already: a later layer alone is not worth caching them."""
        places = self._places(rows)
        if places is None or not self.caching or ("tokens", 1) not in self._cached:
            return None
        return self._take(self._cached["tokens", 1], places)

    def _place(self, values: Tensor) -> Tensor:
        """Moves an array to the backbone's GPU unless it takes more than its share of the free memory."""
        if self.vit.device.type != "cuda" or values.nbytes > free_memory(self.vit.device) // DEVICE_SHARE:
            return values
        return values.to(self.vit.device)

    def _take(self, values: Tensor, rows: Tensor) -> Tensor:
        """Returns rows of an array on the backbone's device; the copy to a GPU is asynchronous."""
        if values.device.type == "cpu" and self.vit.device.type == "cuda":
            return values[rows.cpu()].pin_memory().to(self.vit.device, non_blocking=True)
        return values[rows.to(values.device)]


def normalization(name: str, vit: FrozenViT) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation; for `backbone`, those that the weights were trained with."""
    if name == "backbone":
        return tuple(vit.mean), tuple(vit.std)
    if name not in NORMALIZATIONS:
        raise ConfigError(f"--normalize {name}: unknown; available: backbone, {', '.join(NORMALIZATIONS)}.")
    return NORMALIZATIONS[name]


def _resized_images(images: np.ndarray | ImageFiles, size: int, identity: str | None, stamp: str) -> Tensor:
    if isinstance(images, ImageFiles):
        return torch.from_numpy(cache.load_decoded(images, size, stamp=stamp))
    if images.shape[1:3] == (size, size):
        return torch.from_numpy(np.ascontiguousarray(images))
    shape = (len(images), size, size, 3)
    if identity is None or int(np.prod(shape)) <= MAX_IN_MEMORY:
        return torch.from_numpy(np.concatenate(list(_resize(images, size))))
    name = hashlib.sha256(f"{identity} {size}".encode()).hexdigest()[:24]
    path = default_folder() / "resized" / f"{name}.npy"
    array = MappedArray(path, f"images at {size} px", shape, np.dtype(np.uint8), {"of": identity})
    return torch.from_numpy(array.get(lambda: _resize(images, size)))


def _resize(images: np.ndarray, size: int) -> Iterator[Array]:
    """Yields uint8 blocks [n, size, size, 3]: bicubic with antialiasing; other aspect ratios are stretched."""
    for start in range(0, len(images), CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + CHUNK])).permute(0, 3, 1, 2)
        part = transforms.resize(part, [size, size], transforms.InterpolationMode.BICUBIC, antialias=True)
        yield part.permute(0, 2, 3, 1).contiguous().numpy()
