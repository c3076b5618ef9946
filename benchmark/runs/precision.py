"""Which precision `--precision auto` comes to: bf16 where the device has it and is measured faster with it."""

import hashlib
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from fedprompt.benchmark.backbone.weights import RANDOM
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.data.files import json_files as jsonfile
from fedprompt.data.files.memory_mapped import default_folder, prepare

if TYPE_CHECKING:  # torch is imported where something is measured
    from fedprompt.benchmark.backbone.vit import FrozenViT

REPEATS = 5
TOKENS = 1_024  # of a timed step
GAIN = 1.05  # that bf16 must bring, in time, to be worth its rounding


def resolve_precision(grid: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs with `auto` replaced by the precision that this machine is faster with; measured once a machine."""
    return [c.model_copy(update={"precision": _faster(c)}) if c.precision == "auto" else c for c in grid]


def _faster(config: RunConfig) -> str:
    import torch

    from fedprompt.benchmark.hardware.devices import has_bf16, kernels

    device = torch.device(config.device)
    if not has_bf16(device) or device.type == "cuda":
        return "bf16" if has_bf16(device) else "fp32"
    facts = [kernels(device), config.backbone, config.image_size, config.patch_size]
    place = default_folder() / f"precision-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.json"
    known = jsonfile.read(place)
    if "gain" not in known:
        known = {"of": repr(facts), "gain": gain(config)}
        prepare(place.parent)
        jsonfile.write(place, known)
    return "bf16" if known["gain"] > GAIN else "fp32"


def gain(config: RunConfig) -> float:
    """Seconds of a training step in fp32 over those in bf16, medians of steps taken in turn, with random weights."""
    from fedprompt.benchmark.runs import execute as runner

    runner.use_threads(1)
    vits = [
        runner.frozen_vit(config.model_copy(update={"checkpoint": RANDOM, "precision": precision}), 2)
        for precision in ("fp32", "bf16")
    ]
    seconds: list[list[float]] = [[], []]
    for _ in range(REPEATS + 1):
        for vit, spent in zip(vits, seconds, strict=True):
            began = time.perf_counter()
            _step(vit)
            spent.append(time.perf_counter() - began)
    fp32, bf16 = (median(spent[1:]) for spent in seconds)
    return fp32 / bf16


def _step(vit: "FrozenViT") -> None:
    """A forward and backward pass of a few images down to the first layer."""
    import torch
    from torch.nn import functional

    x = torch.zeros(max(2, TOKENS // vit.tokens), vit.tokens, vit.dim, requires_grad=True)
    loss = functional.cross_entropy(vit.encode(x), torch.zeros(len(x), dtype=torch.int64))
    torch.autograd.grad(loss, x)
