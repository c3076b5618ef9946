"""Memory: saved activations of a training step, the budget of one pass, peak use, out-of-memory errors."""

import psutil
import torch
from torch import Tensor, nn

BUDGET_SHARE = 0.6
"""Share of the free memory for the clients of one pass; the rest is a reserve for what varies."""

OUT_OF_MEMORY = (
    "can't allocate memory",  # torch on a CPU
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


def free_memory(device: torch.device) -> int:
    """Returns the bytes that torch can still allocate on the device. What it holds in its cache counts as free."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


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
