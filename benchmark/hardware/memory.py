"""Memory: saved activations of a training step, the budget of one pass, peak use, out-of-memory errors."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

PROC, CGROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")
BUDGET_SHARE = 0.6
"""Share of the free memory for the clients of one pass; the rest is a reserve for what varies."""

HOST_MEMORY = "can't allocate memory"  # torch on a CPU
OUT_OF_MEMORY = (
    HOST_MEMORY,
    "CUDA error: out of memory",  # CUDA itself: pinned memory, modules, other processes on the GPU
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What errors say that have no type of their own."""


class SavedActivations:
    """Context manager that measures the `bytes` that autograd saves for the backward pass.

    Args:
        module: The frozen model, whose parameters are not counted.
    """

    def __init__(self, module: nn.Module) -> None:
        self.weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self.sizes: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._record, lambda tensor: tensor)

    def __enter__(self) -> "SavedActivations":
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def _record(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        """Total size of the distinct storages; memory that a later step uses again counts once."""
        return sum(self.sizes.values())


def memory_budget(device: torch.device) -> int:
    """Returns the bytes that one pass may use on the device."""
    return int(free_memory(device) * BUDGET_SHARE)


def free_memory(device: torch.device | None = None) -> int:
    """Returns the bytes that this process may still allocate.

    On a CPU: what is available, within the limits of the process's cgroups. On a GPU: torch's cache counts as free.
    """
    if device is not None and device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return min([psutil.virtual_memory().available, *_left_in_cgroups()])


def _left_in_cgroups() -> Iterator[int]:
    """Yields what each limit of cgroups v2 leaves, from the process's own group to the outermost one.

    A container or a job of a batch system may have less than its machine. Cached files count as free.
    """
    try:
        lines = (PROC / "cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    for name in (line.removeprefix("0::/") for line in lines if line.startswith("0::/")):
        group = CGROUPS / name
        for folder in (group, *group.parents):
            if not folder.is_relative_to(CGROUPS):
                break
            with suppress(OSError, ValueError):  # no limit: the file is missing, or says "max"
                limit = int((folder / "memory.max").read_text())
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                used = int((folder / "memory.current").read_text()) - int(statistics.get("inactive_file", 0))
                yield max(0, limit - used)


def reset_peak(device: torch.device) -> None:
    """Starts a new measurement for `peak`. The cache is emptied, so that no earlier run of the process counts."""
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int | None:
    """Returns the most bytes that torch reserved on the GPU since `reset_peak`, caches included; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether the error means that the device or the system has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def is_out_of_host_memory(error: BaseException) -> bool:
    """Returns whether the error means that this machine has no memory left; that of a GPU may be free again later."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and HOST_MEMORY in str(error))


def requested(error: BaseException) -> str:
    """Returns the size of the tensor or array that did not fit, such as `384.0 GB`, or "" if the error has none."""
    if found := re.search(r"allocate (\d+) bytes", str(error)):  # torch
        return f"{int(found[1]) / 1e9:,.1f} GB"
    found = re.search(r"allocate ([\d.]+ [KMGTPE]?i?B)", str(error))  # NumPy
    return found[1] if found else ""
