"""Checks memory: out-of-memory errors halve the clients of a pass, and the measured share of a GPU suffices."""

from typing import Any

import torch
from torch import Tensor

from fedprompt.benchmark.backbone.loading import load
from fedprompt.benchmark.backbone.weights import RANDOM
from fedprompt.benchmark.contract import toy
from fedprompt.benchmark.contract.case import TOLERANCE, unlike
from fedprompt.benchmark.gpu_check.job import Job
from fedprompt.benchmark.gpu_check.runs import configuration, dataset
from fedprompt.benchmark.hardware import memory
from fedprompt.benchmark.profiling.throughput import Workload
from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.scheduling import gpu_share
from fedprompt.benchmark.simulation.executor import Executor
from fedprompt.benchmark.simulation.tasks import ClientUpdate
from fedprompt.methods.fedvpt import FedVPT
from fedprompt.methods.registry import Recipe

COHORT, BATCH, FIT = 16, 64, 5  # clients, images per step, clients whose activations fit under the cap
SHARED = ("fedvpt", "pep-fedpt", "head")


class _AtMostOneClient(FedVPT):
    """FedVPT that is out of memory with two clients or more in a pass."""

    def loss(self, vit: Any, batch: Any, state: Any) -> Tensor:
        """The loss, if one client is in the pass."""
        if batch.clients > 1:
            raise torch.OutOfMemoryError(f"{batch.clients} clients")
        return super().loss(vit, batch, state)


def out_of_memory(job: Job) -> None:
    """Trains a cohort that does not fit: simulated on every device, and on a GPU with a cap on the process's memory."""
    vit = toy.vit()
    vit.model.to(job.torch_device)
    run = toy.simulator(Recipe("fedvpt", _AtMostOneClient(tokens=10)), vit, 1)
    executor, context = Executor("fused"), run.context
    arguments = (context.recipe, context.vit, context.train, run.make_tasks(toy.SEEN, 1), toy.TRAINING)
    alone, halved = Executor("sequential").train(*arguments), executor.train(*arguments)
    _answer(job, "simulated out of memory", executor, alone, halved)
    if job.cuda:
        _capped(job)


def _capped(job: Job) -> None:
    """Trains 16 clients of ViT-B/16 under a cap that fits a few of them."""
    vit = load("vit_base_patch16_224", 10, RANDOM, None, None, job.device, "bf16")
    work, place = Workload(vit, 2 * BATCH * COHORT, "fedvpt-deep"), job.torch_device
    arguments = (work.recipe, vit, work.samples, work.tasks(BATCH, COHORT), work.training(BATCH))
    kept = torch.cuda.memory_allocated(place)
    alone = Executor("sequential").train(*arguments)
    cap = kept + FIT * (torch.cuda.max_memory_allocated(place) - kept)
    memory.reset_peak(place)
    torch.cuda.set_per_process_memory_fraction(cap / torch.cuda.mem_get_info(place)[1], place)
    executor = Executor("fused")
    halved = executor.train(*arguments)
    job.keep(cap_bytes=cap, peak_bytes=memory.peak(place))
    _answer(
        job, f"out of memory at {cap / 1e9:.0f} GB, {COHORT} clients of ViT-B/16", executor, alone, halved, bf16=True
    )


def _answer(
    job: Job,
    question: str,
    executor: Executor,
    alone: list[ClientUpdate],
    halved: list[ClientUpdate],
    bf16: bool = False,
) -> None:
    """Reports the clients per pass; the updates and local batches must be those of client after client."""
    pairs = list(zip(alone, halved, strict=True))
    same = all(one.images == other.images for one, other in pairs)
    if bf16:  # rounding hides small differences
        same &= all(abs(one.loss - other.loss) < 0.02 * abs(one.loss) for one, other in pairs)
    else:
        same &= not any(unlike(one.shared, other.shared, close=True) for one, other in pairs)
    job.keep(**{question: executor.summary()})
    words = f"{executor.width} of {len(alone)} clients per pass; updates {'equal' if same else 'differ'}"
    noted = any("out of memory" in note for note in executor.notes)
    job.answer(question, words, f"a note, updates within {'2%' if bf16 else TOLERANCE}", noted and same)


def share(job: Job) -> None:
    """Sizes the share of a GPU per run from measured memory, and runs each method within that share."""
    names, place = SHARED[-1:] if job.small else SHARED, job.torch_device
    with dataset(job) as data:
        runs = [configuration(job, data, name, 0) for name in names]
        needed = gpu_share.bytes_needed(runs, ())
        free = memory.free_memory(place)
        part = gpu_share.share_of(needed, free)
        job.keep(needed_bytes=needed, free_bytes=free, share=part)
        if job.cuda:
            total = torch.cuda.mem_get_info(place)[1]
            torch.cuda.set_per_process_memory_fraction((needed - gpu_share.CONTEXT) / total, place)
        records = {name: execute(run).result for name, run in zip(names, runs, strict=True)}
    peaks = {name: record.get("gpu_peak_bytes") for name, record in records.items()}
    short = [name for name, record in records.items() if record["executor"]["notes"]]
    job.keep(gpu_peak_bytes=peaks)
    words = (
        f"{needed / 1e9:.2f} GB per run, {int(1 / part)} runs per device; out of memory: {', '.join(short) or 'none'}"
    )
    recorded = all(isinstance(peak, int) for peak in peaks.values()) or not job.cuda
    job.answer("--gpus-per-run auto", words, "no run out of memory, its peak recorded", recorded and not short)
