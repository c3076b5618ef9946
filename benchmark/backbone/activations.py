"""Disk cache of frozen activations: computed once per machine, memory-mapped by all workers, limited in size."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.files.memory_mapped import Array, MappedArray, default_folder, prepare

CHUNK = 64  # images per forward pass
DEFAULT_GB = 8.0
MAX_SHARE = 4  # one array may take 1/4 of the limit: tokens are large to store and cheap to recompute

logger = logging.getLogger(__name__)


def cache_limit() -> int:
    """Returns the size limit of the cache in bytes: `BENCH_CACHE_GB` x 10^9, by default 8 x 10^9.

    Raises:
        ConfigError: `BENCH_CACHE_GB` is not a number.
    """
    text = os.environ.get("BENCH_CACHE_GB") or DEFAULT_GB
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"BENCH_CACHE_GB={text}: need a number of gigabytes, as in 8; 0 disables the cache."
        ) from None


def prepare_cache() -> None:
    """Checks the size limit and creates the cache folder. Raises `ConfigError` or `DataError`."""
    if cache_limit():
        prepare(default_folder() / "activations")


def fits(shape: tuple[int, ...]) -> bool:
    """Returns whether fp32 activations of this shape are small enough for the cache."""
    return int(np.prod(shape)) * 4 <= cache_limit() // MAX_SHARE


def load_or_compute(
    identity: str | None, shape: tuple[int, ...], compute: Callable[[Tensor], Tensor], threads: int
) -> Tensor:
    """Returns fp32 activations from the cache; computes and stores them first where they are missing.

    Args:
        identity: Names the activations in the cache. None: compute them in memory, for this process only.
        shape: [N, ...], N rows.
        compute: Row numbers [n] to their activations [n, ...].
        threads: Chunks computed in parallel, each in one thread. The number does not change the result.
    """
    if identity is None:
        return torch.cat(list(_chunks(shape[0], compute, threads)))
    folder = default_folder() / "activations"
    name = hashlib.sha256(identity.encode()).hexdigest()[:24]
    array = MappedArray(folder / f"{name}.npy", "frozen activations", shape, np.dtype(np.float32), {"of": identity})

    def blocks() -> Iterator[Array]:
        _make_room(folder, array.nbytes)
        for chunk in _chunks(shape[0], compute, threads):
            yield chunk.numpy()

    values = torch.from_numpy(array.get(blocks))
    with suppress(OSError):  # another process may just have deleted the file; the mapping stays valid
        os.utime(array.path)
    return values


def _chunks(count: int, compute: Callable[[Tensor], Tensor], threads: int) -> Iterator[Tensor]:
    @torch.no_grad()  # gradient mode is per thread
    def compute_chunk(rows: Tensor) -> Tensor:
        return compute(rows).float().cpu()

    rows = torch.split(torch.arange(count), CHUNK)
    if threads < 2:
        yield from map(compute_chunk, rows)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for first in range(0, len(rows), 16 * threads):  # limits the memory of chunks that wait to be written
            yield from pool.map(compute_chunk, rows[first : first + 16 * threads])


def _make_room(folder: Path, wanted: int) -> None:
    """Deletes the least recently used arrays until `wanted` more bytes fit the limit."""
    arrays = []
    for path in folder.glob("*.npy"):
        with suppress(FileNotFoundError):  # deleted by another process
            arrays.append((path.stat().st_mtime, path.stat().st_size, path))
    used = sum(size for _, size, _ in arrays)
    for _, size, path in sorted(arrays):
        if used + wanted <= cache_limit():
            return
        logger.info("deleting %s to make room", path)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        used -= size
