"""One attempt at one run, whatever becomes of it: a record and the text of its log."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.execute import Record, execute, failed


@dataclass(frozen=True)
class RunTask:
    """A run to be done: its attempt's number, and how often memory was short, which halves the fused clients."""

    config: RunConfig
    attempt: int = 1
    halvings: int = 0

    @property
    def name(self) -> str:
        """What the run is called where people read it."""
        return f"{self.config.method} {self.config.federation.label} seed {self.config.seed}"


@dataclass(frozen=True)
class RunResult:
    """A run as its worker reports it: the job, its record, and the text of its log."""

    job: RunTask
    record: Record
    log: str = ""


def run_task(
    job: RunTask, threads: int, progress: Callable[[int, int], None], checkpoints: Checkpoints | None = None
) -> RunResult:
    """A run whose failure, of any kind, becomes a record; the traceback goes to its log.

    `progress` is told every round: its number, and the images trained on so far.
    """
    try:
        return RunResult(job, execute(job.config, threads, progress, job.halvings, checkpoints))
    except Exception as error:  # a method may raise anything, and the other runs go on
        return RunResult(job, failed(job.config, failures.cause(error), failures.kind(error)), traceback.format_exc())
