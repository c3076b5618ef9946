"""Runs a grid: in this process, or one Ray task a run; the driver alone writes, and finished runs stay finished."""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from fedprompt.benchmark.backbone import activations
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError, Terminated
from fedprompt.benchmark.hardware.devices import processors
from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.driver_status import DriverStatus
from fedprompt.benchmark.runs.execute import simulator
from fedprompt.benchmark.runs.locks import RunLocks
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.runs.worker import RunResult, RunTask, run_task
from fedprompt.benchmark.sweep.options import SweepOptions
from fedprompt.benchmark.sweep.progress import ProgressListener
from fedprompt.benchmark.sweep.signals import Signals
from fedprompt.data.errors import reason

GRACE = 5.0  # seconds in which runs may still end after SIGTERM
LOOK_AGAIN = 1.0  # seconds between two looks at the runs that another driver has


@dataclass
class SweepSummary:
    """How a sweep ended: runs that failed, here or by another driver meanwhile, and those that never began."""

    failed: int = 0
    unbegun: int = 0


class Pool(Protocol):
    """Where runs are computed; as a context, it is there."""

    running: Any

    @property
    def room(self) -> bool:
        """Whether one more may begin."""

    def start(self, job: RunTask) -> None:
        """Begins a run."""

    def wait(self, signals: Signals) -> list[RunResult]:
        """The runs that have ended, after a moment at most where the process is free meanwhile."""

    def drain(self, seconds: float) -> list[RunResult]:
        """The runs that end within so many seconds, at most."""


def preflight(configs: Sequence[RunConfig]) -> None:
    """Sets up each distinct job without training it, so that a user's mistake shows before anything runs."""
    activations.ready()
    distinct = {(c.method, c.dataset, c.alpha): c for c in configs}  # what is wrong is wrong for every seed
    for config in distinct.values():
        simulator(config)


def run_all(configs: Sequence[RunConfig], store: Store, terms: SweepOptions, watcher: ProgressListener) -> SweepSummary:
    """Runs what is pending, each written as soon as it ends, but for what other drivers do meanwhile.

    SIGTERM and Ctrl-C come through as `Terminated` and `KeyboardInterrupt` when what had finished is written.
    """
    workers = terms.at_a_time(len(configs))
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        underway = CheckpointFiles(store, terms.checkpoint_every)
        pool: Pool
        if workers > 1 or terms.address or terms.run_timeout:  # only a process of its own can be ended in time
            from fedprompt.benchmark.sweep.ray_pool import RayPool

            pool = stack.enter_context(RayPool(terms, workers, configs, watcher, underway))
        else:
            pool = _InProcessPool(watcher, underway)
        claims = stack.enter_context(DriverStatus(store.directory, watcher.describe))
        return _Scheduler(configs, store, terms, watcher, claims, pool, signals).run()


class _InProcessPool:
    """This process, in which one run goes on at a time."""

    def __init__(self, watcher: ProgressListener, underway: CheckpointFiles) -> None:
        self.watcher, self.underway, self.running = watcher, underway, list[RunTask]()

    @property
    def room(self) -> bool:
        return not self.running

    def start(self, job: RunTask) -> None:
        self.running.append(job)

    def wait(self, signals: Signals) -> list[RunResult]:
        job = self.running[0]
        self.watcher.round_done(job.config.run_id, 0)
        with signals.open():
            told = partial(self.watcher.round_done, job.config.run_id)
            finished = run_task(job, processors(), told, self.underway.of(job.config.run_id))
        self.running.clear()
        return [finished]

    def drain(self, seconds: float) -> list[RunResult]:
        return []


class _Scheduler:
    """The driver's part: which run begins when, what becomes of its end, and what others have."""

    def __init__(
        self,
        configs: Sequence[RunConfig],
        store: Store,
        terms: SweepOptions,
        watcher: ProgressListener,
        claims: RunLocks,
        pool: Pool,
        signals: Signals,
    ) -> None:
        self.store, self.terms, self.watcher, self.claims = store, terms, watcher, claims
        self.pool, self.signals = pool, signals
        self.waiting = deque(RunTask(config) for config in configs)
        self.elsewhere: list[RunTask] = []
        self.before = {config.run_id: store.stamp(config.run_id) for config in configs}
        self.logs: dict[str, str] = {}
        self.tally = SweepSummary()
        self.looked, self.told = 0.0, False

    def run(self) -> SweepSummary:
        """Until every run has ended, or no other may begin."""
        try:
            while self._begin() or self.elsewhere:
                self.signals.check()
                if self.pool.running:
                    for finished in self.pool.wait(self.signals):
                        self._settle(finished)
                else:
                    with self.signals.open():
                        time.sleep(LOOK_AGAIN / 4)
        except (KeyboardInterrupt, Terminated) as stop:
            for finished in self.pool.drain(GRACE if isinstance(stop, Terminated) else 0):
                self._write(finished)
            raise
        return self.tally

    def _begin(self) -> bool:
        """Begins what there is room for; whether anything runs."""
        while self.pool.room and (job := self._next()):
            self.pool.start(job)
        return bool(self.pool.running)

    def _next(self) -> RunTask | None:
        if not self.waiting and self.elsewhere and time.monotonic() - self.looked > LOOK_AGAIN:
            self.looked = time.monotonic()
            self.waiting.extend(self.elsewhere)
            self.elsewhere.clear()
            self._tell_of_others()
        while self.waiting:
            job = self.waiting.popleft()
            if self._ours(job):
                return job
        return None

    def _ours(self, job: RunTask) -> bool:
        """Whether a run is this driver's to do: claimed, and not ended by another one meanwhile."""
        run_id = job.config.run_id
        if run_id in self.claims.held:  # a further attempt
            return True
        try:
            claimed = self.claims.take(run_id, job.name)
        except OSError as error:
            raise ConfigError(f"no run can be claimed in {self.store.directory}: {reason(error)}.") from error
        if not claimed:
            self.elsewhere.append(job)
            return False
        entry = self.store.entry(run_id)
        if entry is None or (entry.status != "done" and self.store.stamp(run_id) == self.before[run_id]):
            return True
        self._ended(run_id)
        return False

    def _tell_of_others(self) -> None:
        owners = {str(claim.owner) for job in self.waiting if (claim := self.claims.of(job.config.run_id))}
        if owners and not self.told:
            self.told = True
            self.watcher.note(f"waiting for {len(self.waiting)} runs under way elsewhere: {', '.join(sorted(owners))}")

    def _settle(self, finished: RunResult) -> None:
        """Writes a run's end, or has it tried again."""
        job, result = finished.job, finished.record.result
        short = result.get("error_kind") == failures.OUT_OF_MEMORY
        if result.get("error_kind") in failures.TRANSIENT and job.attempt <= self.terms.retries:
            self.logs[job.config.run_id] = self._log(finished)
            self.watcher.note(f"trying again: {job.name}: {result['error']}")
            self.waiting.appendleft(replace(job, attempt=job.attempt + 1, halvings=job.halvings + short))
            return
        self._write(finished)

    def _write(self, finished: RunResult) -> None:
        run_id, record = finished.job.config.run_id, finished.record
        entry = self.store.entry(run_id)
        if entry is None or entry.status != "done":  # else this process was held up, and another took its run over
            record = replace(record, result=record.result | {"attempts": finished.job.attempt})
            self.store.write(record, self._log(finished))
        self._ended(run_id)

    def _log(self, finished: RunResult) -> str:
        earlier, job = self.logs.get(finished.job.config.run_id, ""), finished.job
        heading = f"--- attempt {job.attempt} ---\n" if earlier or job.attempt > 1 else ""
        return earlier + heading + finished.log + ("\n" if finished.log and not finished.log.endswith("\n") else "")

    def _ended(self, run_id: str) -> None:
        """Counts a run that is in the store."""
        self.claims.release(run_id)
        self.logs.pop(run_id, None)
        entry = self.store.entry(run_id)
        if entry is None:
            raise ConfigError(f"{self.store.directory / run_id} was removed while the sweep went on.")
        self.watcher.run_done(run_id, entry.result)
        self.tally.failed += entry.status != "done"
        if self.terms.max_failures is not None and self.tally.failed >= self.terms.max_failures and self._left():
            self.tally.unbegun += self._left()
            self.waiting.clear()
            self.elsewhere.clear()
            self.watcher.note(
                f"--max-failures {self.terms.max_failures} reached: {self.tally.unbegun} runs will not begin; "
                f"what is running ends and is kept."
            )

    def _left(self) -> int:
        return len(self.waiting) + len(self.elsewhere)
