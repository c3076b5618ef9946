"""Arrays that are computed once per machine, stored as `.npy` files and memory-mapped by every process."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedprompt.data.errors import DataError, reason
from fedprompt.data.files import json_files
from fedprompt.data.files.atomic import atomic_write

FORMAT = 1

Array = npt.NDArray[Any]
logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """Returns the cache folder: $BENCH_CACHE, or ~/.cache/federated-prompt-bench."""
    return Path(os.environ.get("BENCH_CACHE") or "~/.cache/federated-prompt-bench").expanduser()


def prepare(folder: Path) -> None:
    """Creates a cache folder. Raises DataError if that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot create the cache folder {folder}: {reason(error)}; set BENCH_CACHE") from error


@dataclass(frozen=True)
class MappedArray:
    """An array stored in a file, with a JSON index beside it."""

    path: Path  # the `.npy` file
    title: str  # how messages name the array
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    origin: Mapping[str, Any]  # JSON values that identify the input; if they change, the array is recomputed

    @property
    def index(self) -> Path:
        """The JSON file that records the origin."""
        return self.path.with_suffix(".json")

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def get(self, blocks: Callable[[], Iterator[Array]]) -> Array:
        """Returns the array, memory-mapped copy-on-write, and computes it first if the file is missing or outdated.

        If another process is computing it, waits for that process.

        Args:
            blocks: Yields consecutive parts of the array along its first axis.

        Raises:
            DataError: The disk is full or the cache cannot be written. Errors of `blocks` propagate. In both cases no
                partial file remains.
        """
        array = self._read()
        if array is None:
            with self._locked():
                array = self._read()
                if array is None:
                    self._compute(blocks)
                    array = self._read()
        if array is None:
            raise DataError(f"{self.path} changed during reading: does another program write to it?")
        return array

    @property
    def _metadata(self) -> dict[str, Any]:
        return {"format": FORMAT, **self.origin, "shape": list(self.shape)}

    def _read(self) -> Array | None:
        if json_files.read(self.index) != self._metadata:
            return None
        try:
            array = np.load(self.path, mmap_mode="c")
        except (FileNotFoundError, ValueError, EOFError):  # deleted or truncated
            return None
        return array if array.shape == self.shape and array.dtype == self.dtype else None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds an exclusive lock, which the system releases when the process ends."""
        import fcntl

        prepare(self.path.parent)
        path = self.path.with_suffix(".lock")
        with ExitStack() as stack:
            try:
                lock = stack.enter_context(path.open("w"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    logger.warning("waiting for another process to compute %s", self.title)
                    fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise DataError(f"cannot lock {path}: {reason(error)}; set BENCH_CACHE to a local disk") from error
            yield

    def _compute(self, blocks: Callable[[], Iterator[Array]]) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if self.nbytes > free:
            raise self._write_error(free, "no space")
        for leftover in self.path.parent.glob(f".{self.path.name}.*"):  # of a killed process: this one has the lock
            leftover.unlink()

        def write(path: Path) -> None:  # not through a memory map: on a full disk, that kills the process
            with path.open("wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(file, header | {"shape": self.shape})
                for block in blocks():
                    file.write(np.ascontiguousarray(block).data)

        try:
            atomic_write(self.path, write)
            json_files.write(self.index, self._metadata)
        except OSError as error:
            raise self._write_error(free, reason(error)) from error

    def _write_error(self, free: int, cause: str) -> DataError:
        sizes = f"{self.title} needs {self.nbytes / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free"
        return DataError(f"the cache {self.path.parent} cannot be written ({cause}): {sizes}; set BENCH_CACHE")
