"""The data set: images and labels as arrays, checked once where they enter."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedprompt.data.errors import DataError
from fedprompt.data.images.decoding import ImageFiles

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training and test images of one classification task.

    Images are uint8 [N, H, W, 3] at their native size, or files of any size that are decoded lazily; labels are int64
    [N] in 0..len(classes)-1. Where the images come from several domains, `train_domains` and `test_domains` are int64
    [N] positions in `domains`; where natural clients took them, `train_clients` and, if the test set names them too,
    `test_clients` are positions in `client_names`. `identity` changes when the content does; where none is given it is
    a hash of the content. `notes` say what a user should know, such as samples left out.
    Raises DataError, naming the array, where the parts do not fit together.
    """

    name: str
    train_x: Array | ImageFiles
    train_y: Array
    test_x: Array | ImageFiles
    test_y: Array
    classes: tuple[str, ...]
    train_domains: Array | None = None
    test_domains: Array | None = None
    domains: tuple[str, ...] = ()
    train_clients: Array | None = None
    test_clients: Array | None = None
    client_names: tuple[str, ...] = ()
    identity: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            self._check_images(f"{part}_x")
            self._check_numbers(f"{part}_y", len(self.classes), f"{part}_x")
            self._check_positions(f"{part}_domains", "domains", self.domains, f"{part}_x")
            if part == "train" or self.test_clients is not None:
                self._check_positions(f"{part}_clients", "client_names", self.client_names, f"{part}_x")
        self._check_one_kind(self.train_x, self.test_x)
        if not self.identity:
            object.__setattr__(self, "identity", self._content_hash())

    def _error(self, message: str) -> DataError:
        return DataError(f"{self.name}: {message}")

    def _check_one_kind(self, train: Array | ImageFiles, test: Array | ImageFiles) -> None:
        if isinstance(train, ImageFiles) or isinstance(test, ImageFiles):
            if type(train) is not type(test):
                raise self._error("train_x and test_x must both be arrays, or both image files")
        elif train.shape[1:] != test.shape[1:]:
            sizes = ["x".join(map(str, images.shape[1:3])) for images in (train, test)]
            raise self._error(f"train_x holds {sizes[0]} images but test_x {sizes[1]}: both must have one size")

    def _check_images(self, array: str) -> None:
        images = getattr(self, array)
        if isinstance(images, ImageFiles):
            if not len(images):
                raise self._error(f"{array} is empty; need at least one image")
            return
        if images.dtype != np.uint8:
            raise self._error(f"{array} is {images.dtype}; need uint8 from 0 to 255")
        if images.ndim != 4 or images.shape[3] != 3:
            raise self._error(f"{array} has shape {images.shape}; need [N, H, W, 3]{_shape_hint(images.shape)}")
        if not images.size:
            raise self._error(f"{array} has shape {images.shape}: it is empty; need at least one image")

    def _check_positions(self, array: str, names: str, known: tuple[str, ...], images: str) -> None:
        if known and getattr(self, array) is None:
            raise self._error(f"{array} is missing, though {names} names {len(known)}")
        if known:
            self._check_numbers(array, len(known), images)
        elif getattr(self, array) is not None:
            raise self._error(f"{array} is given but {names} names none")

    def _check_numbers(self, array: str, limit: int, images: str) -> None:
        numbers, count = getattr(self, array), len(getattr(self, images))
        if numbers.dtype != np.int64 or numbers.ndim != 1:
            raise self._error(f"{array} is {numbers.dtype} of shape {numbers.shape}; need int64 of shape [N]")
        if len(numbers) != count:
            raise self._error(f"{array} has {len(numbers)} entries but {images} has {count} images; need one for each")
        if numbers.min() < 0 or numbers.max() >= limit:
            raise self._error(f"{array} runs from {numbers.min()} to {numbers.max()}; need 0 to {limit - 1}")

    def _content_hash(self) -> str:
        digest = hashlib.sha256(repr((self.classes, self.domains, self.client_names)).encode())
        for part in ("train", "test"):
            for array in (getattr(self, f"{part}_{what}") for what in ("x", "y", "domains", "clients")):
                if isinstance(array, ImageFiles):
                    digest.update("\0".join([array.key, *array.paths]).encode())
                elif array is not None:
                    digest.update(repr(array.shape).encode())
                    digest.update(np.ascontiguousarray(array).data)
        return f"sha256:{digest.hexdigest()}"


def _shape_hint(shape: tuple[int, ...]) -> str:
    """The usual reason for a wrong image shape and its remedy."""
    if len(shape) == 3:
        return " (grayscale without a channel axis? np.repeat(x[..., None], 3, axis=3))"
    if len(shape) == 4 and shape[3] == 1:
        return " (grayscale? np.repeat(x, 3, axis=3))"
    if len(shape) == 4 and shape[1] == 3:
        return " (channels first? x.transpose(0, 2, 3, 1))"
    return ""
