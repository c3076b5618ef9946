"""The data set: validated images and labels."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedprompt.data.errors import DataError
from fedprompt.data.images.decoding import ImageFiles

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training and test images of a classification task.

    Raises:
        DataError: The parts are inconsistent. The message names the array.
    """

    name: str
    train_x: Array | ImageFiles  # uint8 [N, H, W, 3] at their native size, or files that are decoded on demand
    train_y: Array  # labels int64 [N], from 0 to len(classes) - 1
    test_x: Array | ImageFiles
    test_y: Array
    classes: tuple[str, ...]
    train_domains: Array | None = None  # positions int64 [N] in `domains`
    test_domains: Array | None = None
    domains: tuple[str, ...] = ()
    train_clients: Array | None = None  # positions int64 [N] in `client_names`
    test_clients: Array | None = None  # None as well if the data set does not assign its test images to clients
    client_names: tuple[str, ...] = ()  # natural clients
    identity: str = ""  # changes with the content; by default a hash of it
    split_rule: str = ""  # which images are training and which are test images
    notes: tuple[str, ...] = ()  # for users, such as the number of excluded samples

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            self._check_images(f"{part}_x")
            self._check_numbers(f"{part}_y", len(self.classes), f"{part}_x")
            self._check_optional(f"{part}_domains", "domains", self.domains, f"{part}_x")
            if part == "train" or self.test_clients is not None:
                self._check_optional(f"{part}_clients", "client_names", self.client_names, f"{part}_x")
        self._check_same_kind(self.train_x, self.test_x)
        if not self.identity:
            object.__setattr__(self, "identity", self._content_hash())

    def _error(self, message: str) -> DataError:
        return DataError(f"{self.name}: {message}")

    def _check_same_kind(self, train: Array | ImageFiles, test: Array | ImageFiles) -> None:
        if isinstance(train, ImageFiles) or isinstance(test, ImageFiles):
            if type(train) is not type(test):
                raise self._error("train_x and test_x must both be arrays or both be image files")
        elif train.shape[1:] != test.shape[1:]:
            sizes = ["x".join(map(str, images.shape[1:3])) for images in (train, test)]
            raise self._error(f"train_x has {sizes[0]} images but test_x has {sizes[1]}: the sizes must be equal")

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
            raise self._error(f"{array} is empty (shape {images.shape}); need at least one image")

    def _check_optional(self, array: str, names: str, known: tuple[str, ...], images: str) -> None:
        """Checks an array that must be present if and only if there are names for its values."""
        if known and getattr(self, array) is None:
            raise self._error(f"{array} is missing, but {names} has {len(known)} names")
        if known:
            self._check_numbers(array, len(known), images)
        elif getattr(self, array) is not None:
            raise self._error(f"{array} is given, but {names} is empty")

    def _check_numbers(self, array: str, limit: int, images: str) -> None:
        numbers, count = getattr(self, array), len(getattr(self, images))
        if numbers.dtype != np.int64 or numbers.ndim != 1:
            raise self._error(f"{array} is {numbers.dtype} of shape {numbers.shape}; need int64 of shape [N]")
        if len(numbers) != count:
            raise self._error(f"{array} has {len(numbers)} entries but {images} has {count} images; need one per image")
        if numbers.min() < 0 or numbers.max() >= limit:
            raise self._error(f"{array} ranges from {numbers.min()} to {numbers.max()}; need 0 to {limit - 1}")

    def _content_hash(self) -> str:
        digest = hashlib.sha256(repr((self.classes, self.domains, self.client_names)).encode())
        for part in ("train", "test"):
            for array in (getattr(self, f"{part}_{what}") for what in ("x", "y", "domains", "clients")):
                if isinstance(array, ImageFiles):
                    digest.update("\0".join([array.key, *array.paths]).encode(errors="surrogateescape"))
                elif array is not None:
                    digest.update(repr(array.shape).encode())
                    digest.update(np.ascontiguousarray(array).data)
        return f"sha256:{digest.hexdigest()}"


def hash_of_lines(lines: Iterable[str]) -> str:
    """Returns a short hash of lines, for identities."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode(errors="surrogateescape"))  # paths may be other bytes than UTF-8
    return f"sha256:{digest.hexdigest()[:32]}"


def _shape_hint(shape: tuple[int, ...]) -> str:
    """Returns the usual cause of a wrong image shape and its remedy."""
    if len(shape) == 3:
        return " (grayscale without a channel axis? np.repeat(x[..., None], 3, axis=3))"
    if len(shape) == 4 and shape[3] == 1:
        return " (grayscale? np.repeat(x, 3, axis=3))"
    if len(shape) == 4 and shape[1] == 3:
        return " (channels first? x.transpose(0, 2, 3, 1))"
    return ""
