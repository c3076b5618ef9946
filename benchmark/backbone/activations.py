"""Frozen activations of one split, computed once a machine: memory-mapped, shared by all workers, bounded."""

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

CHUNK = 64  # images a pass of the frozen backbone
DEFAULT_GB = 8.0
LARGEST_SHARE = 4  # of the bound, that one array may take: tokens are cheap to compute again and large to keep

logger = logging.getLogger(__name__)


def bound() -> int:
    """Bytes that all frozen activations kept on this machine may take: $BENCH_CACHE_GB, else 8 (10^9 bytes).

    Raises `ConfigError` where that is no number.
    """
    text = os.environ.get("BENCH_CACHE_GB") or DEFAULT_GB
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise ConfigError(f"BENCH_CACHE_GB={text}: need a number of gigabytes, as in 8; 0 keeps none.") from None


def ready() -> None:
    """Raises `ConfigError` or `DataError` where the cache's bound is no number or its folder cannot be written."""
    if bound():
        prepare(default_folder() / "activations")


def fits(shape: tuple[int, ...]) -> bool:
    """Whether fp32 activations of that shape are kept, or computed each time they are asked for."""
    return int(np.prod(shape)) * 4 <= bound() // LARGEST_SHARE


def kept(identity: str | None, shape: tuple[int, ...], compute: Callable[[Tensor], Tensor], threads: int) -> Tensor:
    """The activations fp32 of `shape` [N, ...] that `compute` gives for rows, made once and mapped from a file.

    `identity` says what they are of; without one they are computed for this process alone. Chunks are computed side
    by side in so many threads, each in one thread: their number changes no bit.
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

    found = torch.from_numpy(array.get(blocks))
    with suppress(OSError):  # another process may have made room by it just now, and the map stays good
        os.utime(array.path)
    return found


@torch.no_grad()
def _chunks(count: int, compute: Callable[[Tensor], Tensor], threads: int) -> Iterator[Tensor]:
    def one(rows: Tensor) -> Tensor:
        with torch.no_grad():  # the mode is each thread's own
            return compute(rows).float().cpu()

    rows = torch.split(torch.arange(count), CHUNK)
    if threads < 2:
        yield from map(one, rows)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for first in range(0, len(rows), 16 * threads):  # some at a time: what waits to be written takes memory
            yield from pool.map(one, rows[first : first + 16 * threads])


def _make_room(folder: Path, wanted: int) -> None:
    """Removes the arrays that were used least recently until `wanted` bytes fit the bound."""
    arrays = []
    for path in folder.glob("*.npy"):
        with suppress(FileNotFoundError):  # removed by another process
            arrays.append((path.stat().st_mtime, path.stat().st_size, path))
    held = sum(size for _, size, _ in arrays)
    for _, size, path in sorted(arrays):
        if held + wanted <= bound():
            return
        logger.info("removing %s to make room", path)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        held -= size
