"""Estimates the cost of a grid: seconds, memory and traffic of all its pending runs."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from fedprompt.benchmark.config.run_config import RunConfig, workload_key
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.hardware.memory import is_out_of_memory
from fedprompt.benchmark.planning import estimate as estimates
from fedprompt.benchmark.planning.estimate import Estimate
from fedprompt.benchmark.runs.failures import too_large
from fedprompt.benchmark.runs.store import Entry
from fedprompt.benchmark.scheduling.order import seconds_of

WHERE = ("executor", "device")  # not compared: a plan accepts times measured with another executor or device
MEASURED, TIMED = 1.15, 1.5  # factors by which times of finished runs, and of a few steps timed here, may be off


def grid_cost(pending: Sequence[RunConfig], finished: Iterable[Entry], workers: int | None) -> dict[str, Any]:
    """Returns what the pending runs are expected to cost, and notes.

    `seconds` has a range, from `seconds_low` to `seconds_high`; the others are `memory_mb`, `upload_mb`, `download_mb`.

    Args:
        pending: the runs, at least one.
        finished: records whose times replace the estimated ones of equal workloads.
        workers: runs at a time; by default one per processor.
    """
    workers = min(workers or processors(), len(pending))
    measured = _measured_seconds(finished)
    low = high = 0.0
    costs: dict[str, Estimate] = {}
    setup: dict[str, float] = {}  # frozen activations are computed once per machine and data set
    seconds, upload, download = 0.0, 0, 0
    for config in pending:
        key = config.workload_key(*WHERE)
        cost = costs[key] = costs.get(key) or _estimate(config)
        expected, spread = (measured[key], MEASURED) if key in measured else (cost.seconds, TIMED)
        seconds, low, high = seconds + expected, low + expected / spread, high + expected * spread
        upload += cost.upload_bytes
        download += cost.download_bytes
        setup[config.dataset] = max(setup.get(config.dataset, 0.0), cost.setup_seconds)
    process_bytes = max(cost.process_bytes for cost in costs.values())
    shared_bytes = max(cost.shared_bytes for cost in costs.values())
    return {
        "workers": workers,
        **{
            name: value / workers + sum(setup.values())
            for name, value in (("seconds", seconds), ("seconds_low", low), ("seconds_high", high))
        },
        "upload_mb": upload / 1e6,
        "download_mb": download / 1e6,
        "memory_mb": (estimates.resident_mb() + process_bytes / 1e6) * workers + shared_bytes / 1e6,
        "notes": list(dict.fromkeys(note for cost in costs.values() for note in cost.notes)),
    }


def _estimate(config: RunConfig) -> Estimate:
    """The estimate of a run. Raises `ConfigError` if the tensors of its method do not fit into memory."""
    try:
        return estimates.estimate(config)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise too_large(config.method, error) from error


def _measured_seconds(finished: Iterable[Entry]) -> dict[str, float]:
    """Mean seconds of finished runs per workload."""
    seconds: dict[str, list[float]] = {}
    for entry in finished:
        if (total := seconds_of(entry)) is not None:
            seconds.setdefault(workload_key(entry.result["config"], *WHERE), []).append(total)
    return {key: fmean(values) for key, values in seconds.items()}
