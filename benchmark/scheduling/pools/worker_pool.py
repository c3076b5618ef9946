"""What the pools of worker processes share: progress, time limits, and the records of lost runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.worker import RunResult, RunTask
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.progress import ProgressListener
from fedprompt.benchmark.scheduling.progress_actor import RoundReport

POLL_EVERY = 0.5  # seconds between two looks at the worker processes


class WorkerPool:
    """Base class of pools that execute `workers` runs at a time in other processes.

    Attributes:
        running: The runs being executed, by the handle of their worker or result.
        started: When each run started, by run id, like the following.
        worker_of: The worker of each run, as HOST:PID.
        timed_out: Runs that are being stopped because of `options.run_timeout`.
        saved: Runs that have saved a checkpoint since they were asked to.
    """

    def __init__(
        self, options: SweepOptions, workers: int, listener: ProgressListener, checkpoints: CheckpointFiles
    ) -> None:
        self.options, self.workers, self.listener, self.checkpoints = options, workers, listener, checkpoints
        self.running: dict[Any, RunTask] = {}
        self.started: dict[str, float] = {}
        self.worker_of: dict[str, str] = {}
        self.timed_out: set[str] = set()
        self.saved: set[str] = set()

    def _save(self, run_id: str, checkpoint: bytes) -> None:
        self.checkpoints.save(run_id, checkpoint)
        self.saved.add(run_id)

    def _all_saved(self) -> bool:
        """Whether no run would lose rounds if it were stopped now."""
        return {task.config.run_id for task in self.running.values()} <= self.saved

    def _note_rounds(self, rounds: Mapping[str, Sequence[RoundReport]]) -> None:
        """Passes reported rounds, by run id, to the listener."""
        running = {task.config.run_id for task in self.running.values()}
        for run_id, reports in rounds.items():
            for report in reports if run_id in running else ():
                self.started.setdefault(run_id, time.monotonic())
                self.worker_of[run_id] = report.worker
                self.listener.round_done(run_id, *report)

    def _overdue(self) -> list[Any]:
        """Returns the handles of runs that exceed the time limit, once each."""
        limit, overdue = self.options.run_timeout, []
        for handle, task in self.running.items():
            run_id = task.config.run_id
            started = self.started.get(run_id)
            if limit and started and time.monotonic() - started > limit and run_id not in self.timed_out:
                self.timed_out.add(run_id)
                overdue.append(handle)
        return overdue

    def _pop(self, handle: Any) -> RunTask:
        """Returns the run of a handle, which has ended."""
        task = self.running.pop(handle)
        self.started.pop(task.config.run_id, None)
        return task

    def _lost(self, task: RunTask, kind: str, error: str, log: str = "") -> RunResult:
        """Returns the result of a run whose worker ended without one."""
        run_id = task.config.run_id
        if run_id in self.timed_out:
            self.timed_out.discard(run_id)
            kind, error = failures.TIME_LIMIT, f"stopped after {self.options.run_timeout:g} s (--run-timeout)"
            log = ""
        record = failed(task.config, error, kind)
        result = record.result | {"when": {"worker": self.worker_of.get(run_id, "")}}
        return RunResult(task, replace(record, result=result), log or error)
