"""Determines the share of a GPU per run, from the memory of finished runs or from measurements."""

import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from fedprompt.benchmark.config.run_config import RunConfig, workload_key
from fedprompt.benchmark.runs.store import Entry
from fedprompt.results.text import one_line

if TYPE_CHECKING:  # torch is only imported for measuring
    from fedprompt.benchmark.simulation.simulator import Simulator

MARGIN = 1.15  # assumed safety factor: cohorts, and the clients in them, differ in size
CONTEXT = 600 * 2**20  # assumed bytes of the CUDA context per process, which torch does not count
PARTS = 10_000  # the resolution in which Ray divides a GPU
MAX_RUNS = 100  # per GPU; up to here, a share of 1/n rounded to such parts admits exactly n runs

log = logging.getLogger("bench")


def auto_share(configs: Sequence[RunConfig], finished: Iterable[Entry]) -> float:
    """Returns and prints the share of a GPU per run with which as many runs as possible fit into its free memory."""
    import torch

    free = torch.cuda.mem_get_info(configs[0].device)[0]
    needed = bytes_needed(configs, finished)
    share = share_of(needed, free)
    print(
        f"--gpus-per-run auto: a run needs {needed / 1e9:.1f} of {free / 1e9:.1f} GB free memory: "
        f"{share:g} GPU per run, {int(1 / share)} per GPU",
        file=sys.stderr,
    )
    return share


def share_of(needed: int, free: int) -> float:
    """Returns 1/n for the most runs n of `needed` bytes that fit into `free` bytes, rounded down to Ray's resolution.

    The share is 1 if not even one run fits: alone on the GPU, it halves its fused clients until it does.
    """
    runs = max(1, min(MAX_RUNS, free // max(1, needed)))
    return PARTS // runs / PARTS


def bytes_needed(
    configs: Sequence[RunConfig],
    finished: Iterable[Entry],
    measure: Callable[[Sequence[RunConfig]], list[int]] | None = None,
) -> int:
    """Returns the GPU memory in bytes of a process that executes the largest of these runs.

    Args:
        configs: The runs.
        finished: Finished runs; the peak memory of those with equal settings is used.
        measure: Returns the peak memory of the runs without such a record; default: `measure_peaks`.
    """
    known: dict[str, int] = {}
    for entry in finished:
        peak = entry.result.get("gpu_peak_bytes")
        if entry.status == "done" and isinstance(peak, int):
            key = workload_key(entry.result["config"])
            known[key] = max(peak, known.get(key, 0))
    keys = {config.workload_key(): config for config in configs}
    unknown = [config for key, config in keys.items() if key not in known]
    peaks = [known[key] for key in keys if key in known]
    return int(max(peaks + ((measure or measure_peaks)(unknown) if unknown else [])) * MARGIN) + CONTEXT


def measure_peaks(configs: Sequence[RunConfig]) -> list[int]:
    """Returns the peak memory of each run in bytes, measured in a process of its own, which then frees the GPU."""
    print(f"measuring the GPU memory of {len(configs)} settings ...", file=sys.stderr)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_peak, configs))


def _peak(config: RunConfig) -> int:
    """Measures the peak GPU memory of torch in a round of the first cohort and a batch of the evaluation.

    Returns 0 if the run fails, as it will report the error itself, and the whole GPU if the run does not fit.
    """
    import torch

    from fedprompt.benchmark.hardware import memory
    from fedprompt.benchmark.runs import execute as runner

    device = torch.device(config.device)
    memory.reset_peak(device)
    try:
        run = runner.simulator(config)
        probe(run)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a method may raise anything, or call sys.exit
        if memory.is_out_of_memory(error):
            return torch.cuda.mem_get_info(device)[1]
        log.warning("cannot measure the memory of %s, which is ignored: %s", config.method, one_line(error))
        return 0
    return (memory.peak(device) or 0) + client_state_bytes(run)


def probe(run: "Simulator") -> None:
    """Trains the first cohort of a simulation for one epoch with its executor, and evaluates one batch."""
    from fedprompt.benchmark.simulation.batch import rows_per_pass
    from fedprompt.benchmark.simulation.evaluation.scoring import score

    run.announce_reads()
    context = run.context
    if context.trains:
        tasks = run.make_tasks(run.context.cohort(1), 1)
        training = replace(context.settings.training, epochs=1)
        run.executor.train(context.recipe, context.vit, context.train, tasks, training)
    scored, rows = [], 0
    for task in run.evaluator.tasks(run.state, context.federation.seen):
        scored.append(task)
        rows += len(task.rows)
        if rows >= rows_per_pass(context.vit.device.type, context.vit.tokens):
            break
    score(context.recipe, context.vit, context.test, scored)


def client_state_bytes(run: "Simulator") -> int:
    """Returns the bytes of all clients' state between rounds, once every client has trained."""
    per_client = sum(value.nbytes for template in run.state.templates().values() for value in template.values())
    return per_client * len(run.context.federation.seen)
