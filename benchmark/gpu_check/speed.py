"""Checks the speed of training: fused and sequential executors against a bare loop, by batch and cohort size."""

import time

from fedprompt.benchmark.backbone.loading import load
from fedprompt.benchmark.backbone.vit import Precision
from fedprompt.benchmark.backbone.weights import EMBEDDED, RANDOM
from fedprompt.benchmark.gpu_check.job import Job
from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.hardware.devices import has_bf16, processors
from fedprompt.benchmark.profiling.throughput import ExecutorRate, Throughput, measure_in_parts

BATCHES, COHORTS, CLASSES = (16, 32, 64, 128), (10, 1, 4, 32), 10
TARGET = (16, 10)  # local batch size and clients of the wanted speed-up
SPEED_UP, SHARE, RATE = 3.0, 0.7, 3_000.0  # wanted of ViT-B/16: fused over sequential, of the bare loop, images/s


def embedded(job: Job) -> None:
    """Measures the embedded ViT in fp32, as runs use it by default."""
    _measure(job, EMBEDDED, "fp32", repeats=3)


def tiny(job: Job) -> None:
    """Measures ViT-Tiny with random weights in bf16."""
    _measure(job, "vit_tiny_patch16_224", "bf16", repeats=2)


def base(job: Job) -> None:
    """Measures ViT-B/16 with random weights in bf16, for which speeds are wanted; ViT-Tiny where checks are small."""
    result = _measure(job, "vit_tiny_patch16_224" if job.small else "vit_base_patch16_224", "bf16", repeats=1)
    if not job.small and job.cuda:
        _judge(job, result)


def _judge(job: Job, result: Throughput) -> None:
    """Compares speeds with those that are wanted."""
    rates = {(cell.kind, cell.batch, cell.cohort): cell.rate for cell in result.cells}
    if ("fused", *TARGET) not in rates:
        job.answer("fused over sequential", "not measured in time", f"{SPEED_UP:g} times", False)
        return
    fused, best = rates["fused", *TARGET], _fastest(result.cells, "fused")
    ratio, share, where = (
        fused / rates["sequential", *TARGET],
        fused / result.limit,
        "batch {}, {} clients".format(*TARGET),
    )
    job.answer(f"fused over sequential, {where}", f"{ratio:.2f}", f"at least {SPEED_UP:g}", ratio >= SPEED_UP)
    job.answer(f"fused over the fastest bare loop, {where}", f"{share:.2f}", f"at least {SHARE:g}", share >= SHARE)
    job.answer("images per second, fused at its best", f"{best:,.0f}", f"above {RATE:,.0f}", best > RATE)


def _measure(job: Job, backbone: str, precision: Precision, repeats: int) -> Throughput:
    """Measures as many batch and cohort sizes as the time allows, the wanted one first."""
    batches, cohorts = ((2,), (2,)) if job.small else (BATCHES, COHORTS)
    size = 32 if job.small else None  # pixels
    if precision == "bf16" and not has_bf16(job.torch_device):
        precision = "fp32"
    vit = load(backbone, CLASSES, RANDOM, size, None, job.device, precision)
    result = Throughput(vit.name, precision, job.device, processors(), environment.describe())
    began = time.monotonic()
    for _ in measure_in_parts(result, vit, batches, cohorts, 1 if job.small else repeats):
        job.keep(throughput=result.as_json())
        # The next part may take twice as long. The parts after the cells need 2,048 x 2,048 products.
        if result.cells and (job.small or not job.time_for(2 * (time.monotonic() - began))):
            break
        began = time.monotonic()
    fastest = {"bare loop": result.limit} | {kind: _fastest(result.cells, kind) for kind in ("fused", "sequential")}
    words = ", ".join(f"{kind} {rate:,.0f}" for kind, rate in fastest.items())
    job.answer(f"images per second at best, {backbone}, {precision}", words)
    return result


def _fastest(cells: list[ExecutorRate], kind: str) -> float:
    return max(cell.rate for cell in cells if cell.kind == kind)
