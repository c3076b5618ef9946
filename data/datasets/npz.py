"""`npz:FILE`: your own images in four NumPy arrays."""

import hashlib
import math
import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError, reason
from fedprompt.data.files.limits import MAX_CLASSES
from fedprompt.data.registry import Source, register

ARRAYS = ("train_x", "train_y", "test_x", "test_y")


@register("npz:FILE")
class Npz(Source):
    """Arrays train_x, test_x (uint8 [N, H, W, 3]) and train_y, test_y (integers [N]); pickles are refused."""

    description = "your own images: an .npz with train_x, train_y, test_x, test_y"

    def identity(self) -> str:
        """Returns the sha256 of the file. Raises DataError if it cannot be read."""
        path = self.argument_path
        try:
            stat = path.stat()
            return f"sha256:{_sha256(path, stat.st_size, stat.st_mtime_ns)}"
        except OSError as error:
            raise DataError(f"{self.name}: cannot read {path}: {reason(error)}") from error

    def load(self) -> DataSet:
        """Returns the arrays of the file. The highest label determines the number of classes.

        Raises:
            DataError: An array is missing or invalid. The message names the file, the array and what is needed.
        """
        identity, arrays = self.identity(), self._read()
        train_y, test_y = (self._labels(part, arrays[part]) for part in ("train_y", "test_y"))
        highest = max(int(labels.max(initial=0)) for labels in (train_y, test_y))
        classes = tuple(str(label) for label in range(highest + 1))
        return DataSet(
            self.name,
            arrays["train_x"],
            train_y,
            arrays["test_x"],
            test_y,
            classes,
            identity=identity,
            split_rule="the file's arrays train_x and test_x",
        )

    def _read(self) -> dict[str, Array]:
        with self.argument_path.open("rb") as file:  # np.load does not close damaged files
            try:
                archive = np.load(file, allow_pickle=False)
            except Exception as error:  # NumPy raises errors of many types, and so does zipfile
                raise DataError(f"{self.name}: not an .npz file, or truncated; write it with np.savez") from error
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{self.name}: a single array (.npy); need an .npz with {', '.join(ARRAYS)}")
            if missing := [name for name in ARRAYS if name not in archive.files]:
                present = ", ".join(archive.files) or "nothing"
                raise DataError(f"{self.name}: contains {present}; missing {', '.join(missing)}")
            self._check_memory(archive)
            return {name: self._array(archive, name) for name in ARRAYS}

    def _check_memory(self, archive: np.lib.npyio.NpzFile) -> None:
        """Raises DataError if the arrays, as the zip archive states their sizes, do not fit into memory."""
        import psutil

        needed = sum(_member(_zip(archive), name).file_size for name in ARRAYS)
        free = psutil.virtual_memory().available
        if needed > free:
            sizes = f"{needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB of memory are available"
            raise DataError(f"{self.name}: its arrays have {sizes}; use image files (imagefolder:PATH) instead")

    def _array(self, archive: np.lib.npyio.NpzFile, name: str) -> Array:
        try:
            shape, claimed, present = _claimed_size(archive, name)
            if claimed <= present:
                return np.asarray(archive[name])
        except Exception as error:  # see above; a header is Python source, which can be anything
            raise DataError(f"{self.name}: {name} is damaged or contains Python objects; need numbers") from error
        raise DataError(f"{self.name}: {name} claims the shape {shape}, but has only {present:,} bytes")

    def _labels(self, array: str, labels: Array) -> Array:
        if not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"{self.name}: {array} is {labels.dtype}; need integer labels from 0")
        if labels.size and labels.min() < 0:
            raise DataError(f"{self.name}: {array} contains the label {labels.min()}; need labels from 0")
        if labels.size and labels.max() >= MAX_CLASSES:
            raise DataError(f"{self.name}: {array} contains the label {labels.max()}; need at most {MAX_CLASSES - 1}")
        return labels.astype(np.int64)


def _zip(archive: np.lib.npyio.NpzFile) -> zipfile.ZipFile:
    assert archive.zip is not None, "the file is open"
    return archive.zip


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """The file of an array in the archive."""
    return archive.getinfo(name if name in archive.namelist() else f"{name}.npy")


def _claimed_size(archive: np.lib.npyio.NpzFile, name: str) -> tuple[str, int, int]:
    """The shape of an array as its header claims it, the bytes that this needs, and those that the file has.

    NumPy allocates what the header claims, however much that is.
    """
    member = _member(_zip(archive), name)
    with _zip(archive).open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        present = member.file_size - file.tell()
    return str(shape)[:60], math.prod(shape) * dtype.itemsize, present


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    # Size and time are part of the key so that a changed file is hashed again.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
