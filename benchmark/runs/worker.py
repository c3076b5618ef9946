"""Executes a run; failures become records."""

import traceback
from dataclasses import dataclass

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.execute import Progress, execute
from fedprompt.benchmark.runs.record import Record, failed
from fedprompt.results.text import one_line


@dataclass(frozen=True)
class RunTask:
    """A run to execute.

    Attributes:
        config: The run.
        attempt: The number of this attempt, from 1.
        halvings: Earlier attempts that ran out of memory; each halves the fused clients.
        keep: The trained tensors to keep, `server` or `all`; None: none.
    """

    config: RunConfig
    attempt: int = 1
    halvings: int = 0
    keep: str | None = None

    @property
    def name(self) -> str:
        """The name of the run in messages."""
        return f"{self.config.method} {self.config.federation.label} seed {self.config.seed}"


@dataclass(frozen=True)
class RunResult:
    """The outcome of one attempt: its task, its record and the text of its log."""

    task: RunTask
    record: Record
    log: str = ""


def run_task(task: RunTask, threads: int, progress: Progress, checkpoints: Checkpoints | None = None) -> RunResult:
    """Executes a run. An exception, also that of `sys.exit`, becomes the record of a failed run, its traceback the log.

    `progress` is called after each round; see `Progress`.
    """
    try:
        return RunResult(task, execute(task.config, threads, progress, task.halvings, checkpoints, task.keep))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a method may raise anything, or call sys.exit; the other runs continue
        return failed_attempt(task, error, traceback.format_exc())


def failed_attempt(task: RunTask, error: BaseException, log: str) -> RunResult:
    """The outcome of an attempt that ended with an error."""
    return RunResult(task, failed(task.config, one_line(error), failures.kind(error)), log)
