"""Checks the device itself: its name, clocks, memory and the rate of large matrix products."""

import subprocess

import torch

from fedprompt.benchmark.gpu_check.job import Job
from fedprompt.benchmark.hardware.devices import has_bf16, kernels
from fedprompt.benchmark.profiling.throughput import product_rate

FIELDS = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")


def device(job: Job) -> None:
    """Reports what the device is, and its rate in fp32 and bf16."""
    place = job.torch_device
    bf16 = has_bf16(place)
    job.keep(kernels=kernels(place), bf16=bf16)
    side = 256 if job.small else None
    rates = {"fp32": product_rate(place, torch.float32, side)}
    if bf16:
        rates["bf16"] = product_rate(place, torch.bfloat16, side)
    job.keep(operations_per_second=rates, card=_card(place) if job.cuda else {})
    job.answer("device", kernels(place))
    job.answer("matrix products", ", ".join(f"{name} {rate / 1e12:.1f} TFLOP/s" for name, rate in rates.items()))
    if job.cuda:
        card = job.data["card"]
        clock = f"{card['clocks.sm']} of {card['clocks.max.sm']}" if card else "unknown: nvidia-smi does not answer"
        job.answer("clock after load", clock)
        job.answer("memory", f"{torch.cuda.mem_get_info(place)[1] / 1e9:.0f} GB")


def _card(place: torch.device) -> dict[str, str]:
    """Returns what nvidia-smi says about the GPU; empty where it does not answer."""
    number = torch.cuda.get_device_properties(place).uuid
    command = ["nvidia-smi", f"--id=GPU-{number}", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(FIELDS, map(str.strip, answer.strip().split(",")), strict=True))
