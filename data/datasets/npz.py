"""`npz:FILE`: your own images in four NumPy arrays."""

import hashlib
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError, reason
from fedprompt.data.registry import Source, register

ARRAYS = ("train_x", "train_y", "test_x", "test_y")
UNREADABLE = (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
MAX_CLASSES = 65_536  # larger labels are identifiers rather than class numbers, and would allocate a count per class


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
            except UNREADABLE as error:
                raise DataError(f"{self.name}: not an .npz file, or truncated; write it with np.savez") from error
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{self.name}: a single array (.npy); need an .npz with {', '.join(ARRAYS)}")
            if missing := [name for name in ARRAYS if name not in archive.files]:
                present = ", ".join(archive.files) or "nothing"
                raise DataError(f"{self.name}: contains {present}; missing {', '.join(missing)}")
            return {name: self._array(archive, name) for name in ARRAYS}

    def _array(self, archive: np.lib.npyio.NpzFile, name: str) -> Array:
        try:
            return np.asarray(archive[name])
        except UNREADABLE as error:
            raise DataError(f"{self.name}: {name} is damaged or contains Python objects; need numbers") from error

    def _labels(self, array: str, labels: Array) -> Array:
        if not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"{self.name}: {array} is {labels.dtype}; need integer labels from 0")
        if labels.size and labels.min() < 0:
            raise DataError(f"{self.name}: {array} contains the label {labels.min()}; need labels from 0")
        if labels.size and labels.max() >= MAX_CLASSES:
            raise DataError(f"{self.name}: {array} contains the label {labels.max()}; need at most {MAX_CLASSES - 1}")
        return labels.astype(np.int64)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    # Size and time are part of the key so that a changed file is hashed again.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
