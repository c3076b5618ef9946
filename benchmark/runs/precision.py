"""Resolves `--precision auto`: bf16 if the device supports it and training is faster with it, else fp32."""

import hashlib
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from fedprompt.benchmark.backbone.weights import RANDOM
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.data.files import json_files
from fedprompt.data.files.memory_mapped import default_folder, prepare

if TYPE_CHECKING:  # torch is only imported for measuring
    from fedprompt.benchmark.backbone.vit import FrozenViT

REPEATS = 5
TOKENS = 1_024  # per timed step
MIN_SPEEDUP = 1.05  # below this, bf16 is not worth its rounding errors


def resolve_precision(grid: Sequence[RunConfig]) -> list[RunConfig]:
    """Replaces "auto" in the runs by the faster precision. The measurement is cached per machine and backbone."""
    return [c.model_copy(update={"precision": _faster(c)}) if c.precision == "auto" else c for c in grid]


def _faster(config: RunConfig) -> str:
    import torch

    from fedprompt.benchmark.hardware.devices import has_bf16, kernels

    device = torch.device(config.device)
    if not has_bf16(device) or device.type == "cuda":
        return "bf16" if has_bf16(device) else "fp32"
    key = repr([kernels(device), config.backbone, config.image_size, config.patch_size])
    path = default_folder() / f"precision-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    cached = json_files.read(path)
    if "gain" not in cached:
        cached = {"of": key, "gain": speedup(config)}
        prepare(path.parent)
        json_files.write(path, cached)
    return "bf16" if cached["gain"] > MIN_SPEEDUP else "fp32"


def speedup(config: RunConfig) -> float:
    """Measures the speed-up of bf16: the time of a training step in fp32 over the time in bf16.

    Takes the median of alternating steps, on random weights.
    """
    from fedprompt.benchmark.runs import execute as runner

    runner.use_threads(1)
    vits = [
        runner.frozen_vit(config.model_copy(update={"checkpoint": RANDOM, "precision": precision}), 2)
        for precision in ("fp32", "bf16")
    ]
    seconds: list[list[float]] = [[], []]
    for _ in range(REPEATS + 1):
        for vit, times in zip(vits, seconds, strict=True):
            began = time.perf_counter()
            _step(vit)
            times.append(time.perf_counter() - began)
    fp32, bf16 = (median(times[1:]) for times in seconds)
    return fp32 / bf16


def _step(vit: "FrozenViT") -> None:
    """Runs a forward and backward pass of a few images through all layers."""
    import torch
    from torch.nn import functional

    x = torch.zeros(max(2, TOKENS // vit.tokens), vit.tokens, vit.dim, requires_grad=True)
    loss = functional.cross_entropy(vit.encode(x), torch.zeros(len(x), dtype=torch.int64))
    torch.autograd.grad(loss, x)
