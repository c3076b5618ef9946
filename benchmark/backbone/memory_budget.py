"""What a training step of one client keeps in memory, found by taking one."""

import torch
from torch import Tensor

from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.hardware.devices import free_memory

SHARE = 0.6
"""Of the memory that is free, that the clients of one pass may take together; the rest is for what varies."""


class SavedActivations:
    """Counts, inside a `with` block, the `bytes` that autograd keeps for gradients, the frozen weights left out."""

    def __init__(self, vit: FrozenViT) -> None:
        self.weights = {p.untyped_storage().data_ptr() for p in vit.model.parameters()}
        self.sizes: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def __enter__(self) -> "SavedActivations":
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        """Of the distinct tensors kept; memory used again by a later step counts once."""
        return sum(self.sizes.values())


def budget(device: torch.device) -> int | None:
    """Bytes that one pass may take; None where the system does not say what is free."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    return None if free is None else int(free * SHARE)


def begin_peak(device: torch.device) -> None:
    """Has `peak` count from here."""
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int | None:
    """Bytes of the GPU that torch has held at most since `begin_peak`, its caches included; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the device's or the system's refusal to give more memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's word on a CPU
