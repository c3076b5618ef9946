"""Executes the runs of a sweep here, in a process pool or on Ray. Only the driver writes; a finished run stays."""

import logging
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fedprompt.benchmark.backbone import activations
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError, Terminated
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.hardware.memory import is_out_of_host_memory
from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.driver_status import DriverStatus
from fedprompt.benchmark.runs.execute import simulator
from fedprompt.benchmark.runs.locks import Locks
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.runs.worker import RunResult, RunTask, failed_attempt, run_task
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.progress import ProgressListener
from fedprompt.benchmark.scheduling.signals import Signals
from fedprompt.data.errors import DataError, reason
from fedprompt.methods.errors import MethodError

GRACE_PERIOD = 3.0  # seconds after a signal in which runs may end, or their round, to save a checkpoint
CHECK_LOCKS_EVERY = 1.0  # seconds between two attempts to lock the runs of other drivers

log = logging.getLogger("bench")


@dataclass
class SweepSummary:
    """How many runs failed, here or in another driver meanwhile, and how many were skipped."""

    failed: int = 0
    skipped: int = 0


class Pool(Protocol):
    """Executes runs."""

    running: Any

    @property
    def has_capacity(self) -> bool:
        """Whether another run can start."""

    def start(self, task: RunTask) -> None:
        """Starts a run."""

    def wait(self, signals: Signals) -> list[RunResult]:
        """Waits for runs to end, for a moment only if runs execute in other processes, and returns their results."""

    def drain(self, seconds: float) -> list[RunResult]:
        """Asks all runs for a checkpoint, waits this long at most, and returns the results of those that end."""


def preflight(configs: Sequence[RunConfig]) -> None:
    """Sets up each distinct run without training it, so that errors of the user show before anything runs.

    Raises:
        ConfigError, DataError, MethodError: The first of these errors, or a method does not fit into the memory of this
            machine. What else a method raises, or `sys.exit` in it, is left to its run, which fails with it.
    """
    activations.prepare_cache()
    distinct = {(c.method, c.dataset, c.alpha): c for c in configs}  # an error does not depend on the seed
    for config in distinct.values():
        try:
            simulator(config)
        except (ConfigError, DataError, MethodError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a method may raise anything, or call sys.exit
            if is_out_of_host_memory(error):
                raise failures.too_large(config.method, error) from error
            log.debug("%s will fail: %r", config.method, error)


def run_all(
    configs: Sequence[RunConfig], store: Store, options: SweepOptions, listener: ProgressListener
) -> SweepSummary:
    """Executes runs, and stores each as soon as it ends. Runs that another driver has locked are left to it.

    Raises:
        Terminated, KeyboardInterrupt: SIGTERM or Ctrl-C arrived; finished runs have been stored.
        ConfigError: A record cannot be written, or Ray is not available.
    """
    workers = options.parallel_runs(len(configs))
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        checkpoints = CheckpointFiles(store, options.checkpoint_every)
        pool: Pool
        if workers == 1 and not options.address and not options.run_timeout:
            pool = _InProcessPool(listener, checkpoints)
        elif options.local:  # here and below also for one worker: a timeout needs a process that can be killed
            from fedprompt.benchmark.scheduling.pools.local_pool import LocalPool

            pool = stack.enter_context(LocalPool(options, workers, listener, checkpoints))
        else:
            from fedprompt.benchmark.scheduling.pools.ray_pool import RayPool

            with signals.interruptible():  # Ray takes seconds to start
                pool = stack.enter_context(RayPool(options, workers, configs, listener, checkpoints))
        locks = stack.enter_context(DriverStatus(store.directory, listener.describe))
        return _Scheduler(configs, store, options, listener, locks, pool, signals).run()


class _InProcessPool:
    """Executes one run at a time in this process."""

    def __init__(self, listener: ProgressListener, checkpoints: CheckpointFiles) -> None:
        self.listener, self.checkpoints, self.running = listener, checkpoints, list[RunTask]()

    @property
    def has_capacity(self) -> bool:
        """Whether no run is waiting to be executed."""
        return not self.running

    def start(self, task: RunTask) -> None:
        """Takes a run, which `wait` executes."""
        self.running.append(task)

    def wait(self, signals: Signals) -> list[RunResult]:
        """Executes the run in this process and returns its result."""
        task = self.running[0]
        run_id = task.config.run_id
        self.listener.round_done(run_id, 0)

        def after_round(number: int, images: int, row: dict[str, Any]) -> None:
            self.listener.round_done(run_id, number, images, row=row)
            signals.check()

        checkpoints = replace(self.checkpoints.of(run_id), wanted=lambda: signals.pending is not None)
        with signals.interruptible(GRACE_PERIOD):
            result = run_task(task, processors(), after_round, checkpoints)
        self.running.clear()
        return [result]

    def drain(self, seconds: float) -> list[RunResult]:
        """Returns nothing: `wait` has executed every run."""
        return []


class _Scheduler:
    """Decides which run starts when, retries and stores runs, and waits for the runs of other drivers."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        store: Store,
        options: SweepOptions,
        listener: ProgressListener,
        locks: Locks,
        pool: Pool,
        signals: Signals,
    ) -> None:
        self.store, self.options, self.listener, self.locks = store, options, listener, locks
        self.pool, self.signals = pool, signals
        self.pending = deque(RunTask(config, keep=options.keep_model) for config in configs)
        self.locked_elsewhere: list[RunTask] = []
        self.first_versions = {config.run_id: store.version(config.run_id) for config in configs}
        self.logs: dict[str, str] = {}  # of earlier attempts, by run id
        self.summary = SweepSummary()
        self.locks_checked, self.has_noted_others = 0.0, False

    def run(self) -> SweepSummary:
        """Executes the runs until all have ended or the failure limit is reached."""
        try:
            while self._start_runs() or self.locked_elsewhere:
                self.signals.check()
                if self.pool.running:
                    for result in self.pool.wait(self.signals):
                        self._handle(result)
                else:
                    with self.signals.interruptible():
                        time.sleep(CHECK_LOCKS_EVERY / 4)
        except (KeyboardInterrupt, Terminated):
            for result in self.pool.drain(GRACE_PERIOD):
                self._store(result)
            raise
        return self.summary

    def _start_runs(self) -> bool:
        """Starts as many runs as the pool has capacity for; returns whether any run is active."""
        while self.pool.has_capacity and (task := self._next()):
            self.pool.start(task)
        return bool(self.pool.running)

    def _next(self) -> RunTask | None:
        now = time.monotonic()
        if not self.pending and self.locked_elsewhere and now - self.locks_checked > CHECK_LOCKS_EVERY:
            self.locks_checked = now
            self.pending.extend(self.locked_elsewhere)
            self.locked_elsewhere.clear()
            self._note_other_drivers()
        while self.pending:
            task = self.pending.popleft()
            if self._lock(task):
                return task
        return None

    def _lock(self, task: RunTask) -> bool:
        """Locks a run; returns False if another driver holds it, or has ended it meanwhile."""
        run_id = task.config.run_id
        self.store.check_directory()
        if run_id in self.locks.held:  # a further attempt
            return True
        try:
            acquired = self.locks.acquire(run_id, run=task.name)
        except OSError as error:
            raise ConfigError(f"cannot lock a run in {self.store.directory}: {reason(error)}.") from error
        if not acquired:
            self.locked_elsewhere.append(task)
            return False
        entry = self.store.entry(run_id)
        if entry is None or (entry.status != "done" and self.store.version(run_id) == self.first_versions[run_id]):
            return True
        self._finish(run_id)
        return False

    def _note_other_drivers(self) -> None:
        locks = (self.locks.get(task.config.run_id) for task in self.pending)
        drivers = sorted({lock.driver for lock in locks if lock and lock.held})
        if drivers and not self.has_noted_others:
            self.has_noted_others = True
            self.listener.note(f"waiting for {len(self.pending)} runs of {', '.join(drivers)}")

    def _handle(self, result: RunResult) -> None:
        """Stores a run that has ended, or schedules another attempt."""
        task, record = result.task, result.record.result
        kind = record.get("error_kind")
        if kind in failures.TRANSIENT and task.attempt <= self.options.retries:
            self.logs[task.config.run_id] = self._log(result)
            self.listener.note(f"retrying {task.name}: {record['error']}")
            halvings = task.halvings + (kind == failures.OUT_OF_MEMORY)
            self.pending.appendleft(replace(task, attempt=task.attempt + 1, halvings=halvings))
            return
        self._store(result)

    def _store(self, result: RunResult) -> None:
        run_id = result.task.config.run_id
        self.store.check_directory()
        if not self.store.is_done(run_id):  # on a file system without working locks, another driver may be faster
            try:
                self._write(result)
            except ConfigError:  # no record can be written
                raise
            except Exception as error:  # this record cannot: a method may report what no file can hold
                self._write(failed_attempt(result.task, error, result.log + traceback.format_exc()))
        self._finish(run_id)

    def _write(self, result: RunResult) -> None:
        content = result.record.result | {"attempts": result.task.attempt}
        self.store.write(replace(result.record, result=content), self._log(result))

    def _log(self, result: RunResult) -> str:
        earlier, attempt = self.logs.get(result.task.config.run_id, ""), result.task.attempt
        heading = f"--- attempt {attempt} ---\n" if earlier or attempt > 1 else ""
        return earlier + heading + result.log + ("\n" if result.log and not result.log.endswith("\n") else "")

    def _finish(self, run_id: str) -> None:
        """Releases and counts a run that is in the store."""
        self.locks.release(run_id)
        self.logs.pop(run_id, None)
        entry = self.store.entry(run_id)
        if entry is None:
            raise ConfigError(f"{self.store.directory / run_id} was deleted during the sweep.")
        self.listener.run_done(run_id, entry.result)
        self.summary.failed += entry.status != "done"
        limit, left = self.options.max_failures, len(self.pending) + len(self.locked_elsewhere)
        if left and limit is not None and self.summary.failed >= limit:
            self.summary.skipped += left
            self.pending.clear()
            self.locked_elsewhere.clear()
            self.listener.note(
                f"--max-failures {limit} reached. Skipping {self.summary.skipped} pending runs; "
                "active runs will finish."
            )
