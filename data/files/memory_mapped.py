"""Arrays made once a machine: `.npy` files with a JSON index beside them, memory-mapped by every process."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fedprompt.data.errors import DataError
from fedprompt.data.files import json_files as jsonfile

FORMAT = 1

Array = npt.NDArray[Any]
logger = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where the caches lie: $BENCH_CACHE, else a folder of its own in the user's cache."""
    return Path(os.environ.get("BENCH_CACHE") or "~/.cache/federated-prompt-bench").expanduser()


def prepare(folder: Path) -> None:
    """Makes a cache folder. Raises DataError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the cache folder {folder}: {error.strerror}; name another: BENCH_CACHE"
        ) from error


@dataclass(frozen=True)
class MappedArray:
    """An array kept at `path`; `title` names it to the user.

    `origin` (JSON values) says what it was made from: a file that tells of another origin is made again.
    """

    path: Path
    title: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    origin: Mapping[str, Any]

    @property
    def index(self) -> Path:
        """The JSON file that says what the array was made from."""
        return self.path.with_suffix(".json")

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def get(self, blocks: Callable[[], Iterator[Array]]) -> Array:
        """The array, memory-mapped copy-on-write; made now, from its `blocks` in order, where it is not there yet.

        Whoever comes while another process makes it waits for that one. Raises DataError where there is no space, or
        whatever `blocks` raises; then nothing is left behind.
        """
        found = self._read()
        if found is None:
            with self._alone():
                found = self._read()
                if found is None:
                    self._make(blocks)
                    found = self._read()
        if found is None:
            raise DataError(f"{self.path} changed while it was read: is another program writing there?")
        return found

    @property
    def _facts(self) -> dict[str, Any]:
        return {"format": FORMAT, **self.origin, "shape": list(self.shape)}

    def _read(self) -> Array | None:
        if jsonfile.read(self.index) != self._facts:
            return None
        try:
            array = np.load(self.path, mmap_mode="c")
        except (FileNotFoundError, ValueError, EOFError):  # removed or cut short by hand: make it again
            return None
        return array if array.shape == self.shape and array.dtype == self.dtype else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the lock of the array; the system gives it back when its owner ends, however that happens."""
        prepare(self.path.parent)
        place = self.path.with_suffix(".lock")
        try:
            lock = place.open("w")
        except OSError as error:
            raise DataError(f"cannot write {place}: {error.strerror}; name another cache: BENCH_CACHE") from error
        with lock:
            _seize(lock, place, self.title)
            yield

    def _make(self, blocks: Callable[[], Iterator[Array]]) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if self.nbytes > free:
            raise self._no_space(free)
        for left in self.path.parent.glob(f".{self.path.name}.*"):  # by a maker that was killed: the lock is ours
            left.unlink()
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with unfinished.open("wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
                np.lib.format.write_array_header_1_0(file, header | {"shape": self.shape})
                for block in blocks():
                    file.write(np.ascontiguousarray(block).data)
            os.replace(unfinished, self.path)
            jsonfile.write(self.index, self._facts)
        except OSError as error:
            raise self._no_space(free, error.strerror or str(error)) from error
        finally:
            unfinished.unlink(missing_ok=True)

    def _no_space(self, free: int, reason: str = "no space") -> DataError:
        sizes = f"{self.nbytes / 2**20:,.0f} MiB for {self.title}, {free / 2**20:,.0f} MiB free"
        return DataError(
            f"the cache {self.path.parent} cannot be written ({reason}): {sizes}; name another: BENCH_CACHE"
        )


def _seize(lock: IO[str], place: Path, title: str) -> None:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.warning("waiting for the process that makes %s", title)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise DataError(f"cannot lock {place}: {error.strerror}; name a cache on a local disk: BENCH_CACHE") from error
