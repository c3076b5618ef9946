"""Processors of this process, and properties of a device that affect numbers or speed."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # counting processors needs no torch, which takes seconds to import
    import torch


def processors() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kernels(device: "torch.device") -> str:
    """Returns torch's version and kind of kernels on a device: the last bits of results depend on both."""
    import torch

    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} {device.type} {kind}"


def has_bf16(device: "torch.device") -> bool:
    """Returns whether the device has bf16 matrix instructions. False where the system does not say."""
    if device.type == "cuda":
        import torch

        if not torch.cuda.is_available():
            return False
        with torch.cuda.device(device):  # torch answers for the current device
            return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or " bf16" in flags
