"""Checks numbers of whole runs: on the device against the CPU, in bf16 against fp32, and resumed against undisturbed.

Two devices or precisions differ in the last bits, and training magnifies them. They agree if the results of runs with
the same seed differ by no more than those of runs with different seeds, on average.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.gpu_check.job import Job
from fedprompt.benchmark.gpu_check.runs import configuration, dataset
from fedprompt.benchmark.hardware.devices import has_bf16, processors
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.execute import execute

ON_CPU = ("fedvpt", "head", "fedvpt+scaffold", "fedvpt+feddyn", "pep-fedpt+fedadam")
IN_BF16 = ("fedvpt", "pep-fedpt", "head")
LAST_BEFORE_STOP = 1  # the round after which a run is interrupted


class _InterruptedError(Exception):
    """Stops a run after a round."""


def cpu(job: Job) -> None:
    """Runs methods and optimisers on the device and on the CPU."""
    _compare(job, f"{job.device} against cpu", ON_CPU, 3, {"device": "cpu"}, {"device": job.device})


def bf16(job: Job) -> None:
    """Runs methods in bf16 and in fp32."""
    if not has_bf16(job.torch_device):
        job.answer("bf16 against fp32", "this device has no bf16 instructions")
        return
    _compare(job, "bf16 against fp32", IN_BF16, 6, {"precision": "fp32"}, {"precision": "bf16"})


def resume(job: Job) -> None:
    """Interrupts a run after a round, lets it continue from its checkpoint, and compares it with undisturbed runs."""
    with dataset(job) as data:
        runs = [configuration(job, data, "fedper", seed) for seed in range(2 if job.small else 3)]
        undisturbed = [_accuracy(run) for run in runs]
        found = _checkpoint(runs[0])
        record = execute(runs[0], _threads(runs[0]), checkpoints=Checkpoints(found=found)).result
    resumed, continued = record["metrics"]["seen"]["mean"], record["when"]["resumed"]
    gap, spread = abs(resumed - undisturbed[0]), _spread(undisturbed)
    job.keep(undisturbed=undisturbed, resumed=resumed, resumed_from=continued, bytes=len(found))
    after = continued[0]["after_round"] if continued else "never"
    words = f"{gap:.4f} apart, continued after round {after}"
    same = bool(continued) and gap <= spread
    job.answer("a resumed run against an undisturbed one", words, f"at most {spread:.4f}", same)


def _checkpoint(config: RunConfig) -> bytes:
    """Returns the last checkpoint of a run that is interrupted after a round."""
    kept: list[bytes] = []

    def stop(number: int, *_: object) -> None:
        if number == LAST_BEFORE_STOP:
            raise _InterruptedError

    try:
        execute(config, _threads(config), stop, checkpoints=Checkpoints(keep=kept.append, every=0))
    except _InterruptedError:
        return kept[-1]
    raise AssertionError("the run ended before it was interrupted")


def _compare(
    job: Job, question: str, methods: Sequence[str], seeds: int, first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    """Compares two kinds of runs seed by seed, for as many of the seeds as the time allows."""
    methods, seeds = (methods[:2], 2) if job.small else (methods, seeds)
    results: dict[str, tuple[list[float], list[float]]] = {method: ([], []) for method in methods}
    with dataset(job) as data:
        for seed in range(seeds):
            began = time.monotonic()
            for method in methods:
                for values, options in zip(results[method], (first, second), strict=True):
                    values.append(_accuracy(configuration(job, data, method, seed, **options)))
            job.keep(accuracy={method: list(pair) for method, pair in results.items()})
            if seed and not job.time_for(time.monotonic() - began):
                break
    gaps = {m: fmean(abs(a - b) for a, b in zip(*pair, strict=True)) for m, pair in results.items()}
    spreads = {method: _spread(pair[0]) for method, pair in results.items()}
    job.keep(mean_paired_difference=gaps, mean_difference_between_seeds=spreads)
    for method in methods:
        close = gaps[method] <= spreads[method]
        job.answer(f"{question}, {method}", f"{gaps[method]:.4f} apart", f"at most {spreads[method]:.4f}", close)


def _accuracy(config: RunConfig) -> float:
    """Returns the mean accuracy of the seen clients after a run."""
    return float(execute(config, _threads(config)).result["metrics"]["seen"]["mean"])


def _threads(config: RunConfig) -> int:
    return processors() if config.device == "cpu" else 1


def _spread(values: Sequence[float]) -> float:
    """Returns the mean difference between the results of two seeds."""
    return fmean(abs(a - b) for a, b in combinations(values, 2))
