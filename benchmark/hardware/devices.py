"""What this process may use of the machine."""

import os
from pathlib import Path

import torch


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes of memory that can be had now without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def kernels(device: torch.device) -> str:
    """The kind of kernels that torch computes with on a device: what last bits depend on, beside its version."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} {device.type} {kind}"


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16 by instructions of its own."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: unknown, and fp32 is safe
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or " bf16" in flags
