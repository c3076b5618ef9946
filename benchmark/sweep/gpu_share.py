"""What share of a GPU each run of a sweep gets, from the memory that runs like it took, or are measured to take."""

import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from fedprompt.benchmark.config.run_config import RunConfig, workload_key
from fedprompt.benchmark.runs.store import Entry

if TYPE_CHECKING:  # torch is imported where something is measured
    from fedprompt.benchmark.simulation.simulator import Simulator

MARGIN = 1.15  # assumed, over what was measured: cohorts, and the clients in them, differ in size
CONTEXT = 600 * 2**20  # assumed: bytes of CUDA's own in each process, which torch does not count
PARTS = 10_000  # of a GPU, which Ray counts
MOST = 100  # runs on one GPU; up to there a share of 1/n in such parts holds n runs and no more

log = logging.getLogger("bench")


def sized(configs: Sequence[RunConfig], finished: Iterable[Entry]) -> float:
    """The share of a GPU for each of these runs, so that whole runs fill what is free of the one here; says so."""
    import torch

    free = torch.cuda.mem_get_info(configs[0].device)[0]
    bytes_ = needed(configs, finished)
    found = share(bytes_, free)
    runs = f"{int(1 / found)} at a time on a GPU" if found < 1 else "one at a time on a GPU"
    print(
        f"--gpus-per-run auto: a run takes {bytes_ / 1e9:.1f} of {free / 1e9:.1f} GB free: {found:g}, {runs}",
        file=sys.stderr,
    )
    return found


def share(needed: int, free: int) -> float:
    """1/n for the most runs of `needed` bytes that `free` bytes hold, rounded down to parts that Ray counts.

    It is 1 where not even one fits by these numbers: alone on the GPU, the run halves its fused clients until it does.
    """
    runs = max(1, min(MOST, free // max(1, needed)))
    return PARTS // runs / PARTS


def needed(
    configs: Sequence[RunConfig],
    finished: Iterable[Entry],
    measure: Callable[[Sequence[RunConfig]], list[int]] | None = None,
) -> int:
    """Bytes of a GPU that a process with the largest of these runs takes, by the records of finished runs like it and,
    where there are none, by `measure`."""
    known: dict[str, int] = {}
    for entry in finished:
        peak = entry.result.get("gpu_peak_bytes")
        if entry.status == "done" and isinstance(peak, int):
            kind = workload_key(entry.result["config"])
            known[kind] = max(peak, known.get(kind, 0))
    kinds = {config.workload_key(): config for config in configs}
    unknown = [config for kind, config in kinds.items() if kind not in known]
    peaks = [known[kind] for kind in kinds if kind in known]
    return int(max(peaks + ((measure or measured)(unknown) if unknown else [])) * MARGIN) + CONTEXT


def measured(configs: Sequence[RunConfig]) -> list[int]:
    """The peak memory of each run, in a process of its own that gives its share of the GPU back."""
    print(f"measuring what {len(configs)} settings take of the GPU ...", file=sys.stderr)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_peak, configs))


def _peak(config: RunConfig) -> int:
    """Bytes that torch holds of the GPU at most, in a round of the first cohort and a pass of the evaluation.

    What cannot be measured is 0, since the run will say itself what is wrong; what does not fit is all there is.
    """
    import torch

    from fedprompt.benchmark.backbone import memory_budget as memory
    from fedprompt.benchmark.runs import execute as runner

    device = torch.device(config.device)
    memory.begin_peak(device)
    try:
        run = runner.simulator(config)
        probe(run)
    except Exception as error:  # a method may raise anything
        if memory.is_out_of_memory(error):
            return torch.cuda.mem_get_info(device)[1]
        log.warning("the memory of %s is not known, and left out: %s: %s", config.method, type(error).__name__, error)
        return 0
    return (memory.peak(device) or 0) + kept_bytes(run)


def probe(run: "Simulator") -> None:
    """One local epoch of a simulation's first cohort as its executor computes it, and one pass of the evaluation."""
    from fedprompt.benchmark.simulation.local_training import rows_a_pass
    from fedprompt.benchmark.simulation.scoring import score

    run.announce()
    if run.trains:
        jobs = run.jobs(run.cohort(1), 1)
        run.executor.train(run.recipe, run.vit, run.train, jobs, replace(run.protocol.training, epochs=1))
    subjects, rows = [], 0
    for subject in run.subjects(run.federation.seen):
        subjects.append(subject)
        rows += len(subject.rows)
        if rows >= rows_a_pass(run.vit):
            break
    score(run.recipe, run.vit, run.test, subjects)


def kept_bytes(run: "Simulator") -> int:
    """Bytes of what all clients keep between rounds, once each of them has trained."""
    from fedprompt.benchmark.runs.checkpoint import PER_CLIENT

    own = sum(value.nbytes for pattern in PER_CLIENT.values() for value in pattern(run).values())
    return own * len(run.federation.seen)
