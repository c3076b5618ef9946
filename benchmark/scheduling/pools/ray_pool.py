"""Executes runs as Ray tasks, on this machine or on a cluster.

Ray reuses its worker processes, so each one loads the backbone and the data only once.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.worker import RunResult, RunTask
from fedprompt.benchmark.scheduling import cluster, nodes
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.pools.ray_session import RaySession, check_open_files
from fedprompt.benchmark.scheduling.pools.ray_thread import RayThread
from fedprompt.benchmark.scheduling.pools.worker_pool import POLL_EVERY, WorkerPool
from fedprompt.benchmark.scheduling.pools.worker_run import run_captured, worker_name
from fedprompt.benchmark.scheduling.progress import ProgressListener
from fedprompt.benchmark.scheduling.progress_actor import ProgressActor, RoundReport
from fedprompt.benchmark.scheduling.shipping import WORKER_ENVIRONMENT, plugin_paths, runtime_environment
from fedprompt.benchmark.scheduling.signals import Signals
from fedprompt.results.text import one_line

CAPACITY_EVERY = 2.0  # seconds between two looks at the size of a cluster
LAST_FETCH = 1.5  # seconds to wait for progress that must not be lost
DRAIN_EVERY = 0.1  # seconds between two looks at runs that are about to be stopped


class RayPool(WorkerPool):
    """Executes one Ray task per run, while used as a context.

    On this machine `workers` runs execute at a time; on a cluster `options.workers`, or as many as fit.
    """

    def __init__(
        self,
        options: SweepOptions,
        workers: int,
        configs: Sequence[RunConfig],
        listener: ProgressListener,
        checkpoints: CheckpointFiles,
    ) -> None:
        super().__init__(options, workers, listener, checkpoints)
        self.cpus = options.cpus or 1
        self.threads = self.cpus if options.address else options.threads_per_run(workers)
        self.plugins = list(dict.fromkeys(file for config in configs for file in config.plugins))
        self.runtime_env: dict[str, Any] | None = None
        self.fetching: Any = None  # Ray's reference to the answer of the progress actor
        self.capacity_checked = self.polled = float("-inf")

    def __enter__(self) -> "RayPool":
        if not self.options.address:
            check_open_files(self.workers)
        self.thread = RayThread()
        with contextlib.ExitStack() as stack:
            if self.options.address:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-shipped-"))
                self.runtime_env = runtime_environment(Path(folder), self.plugins)
                stack.callback(self.thread.shut_down)
            else:
                self.session = stack.enter_context(RaySession(self.thread))
            self._connect()
            self.cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup.close()

    def _connect(self) -> None:
        import ray

        for name, value in WORKER_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if self.options.address:
            self.thread.call(partial(cluster.connect, self.options.address, runtime_env=self.runtime_env))
        else:
            self.session.start(num_cpus=self.workers * self.cpus)
        self._check_resources()
        self.remote_task = ray.remote(num_cpus=self.cpus, num_gpus=self.options.gpus, max_retries=0, max_calls=0)(_task)
        self._start_progress_actor()

    def _check_resources(self) -> None:
        """Raises `ConfigError` if no node can execute a run."""
        import ray

        alive = [(node, node["Resources"]) for node in ray.nodes() if node["Alive"]]
        fitting = [
            node
            for node, resources in alive
            if resources.get("CPU", 0) >= self.cpus and resources.get("GPU", 0) >= self.options.gpus
        ]
        if not fitting:
            cpus, gpus = (max((r.get(kind, 0) for _, r in alive), default=0) for kind in ("CPU", "GPU"))
            raise ConfigError(
                f"a run needs {self.cpus} CPUs and {self.options.gpus:g} GPUs; no node has more than {cpus:g} and "
                f"{gpus:g}. Lower --cpus-per-run or --gpus-per-run."
            )
        if self.options.address:
            nodes.check((node["NodeManagerAddress"], node["NodeID"]) for node in fitting)

    def _start_progress_actor(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.fetching = None
        self.progress_actor = ray.remote(num_cpus=0)(ProgressActor).options(scheduling_strategy=here).remote()

    @property
    def has_capacity(self) -> bool:
        """Whether another run can start. On a cluster one run more than fits is queued, so that it can grow."""
        due = time.monotonic() - self.capacity_checked > CAPACITY_EVERY
        if self.options.address and self.options.workers is None and due:
            import ray

            self.capacity_checked = time.monotonic()
            total, gpus = ray.cluster_resources(), self.options.gpus
            fits = [total.get("CPU", 0) // self.cpus, *([total.get("GPU", 0) // gpus] if gpus else [])]
            self.workers = int(min(fits)) + 1
        return len(self.running) < self.workers

    def start(self, task: RunTask) -> None:
        """Submits a run to Ray."""
        if task.attempt > 1:  # the last checkpoint of the previous attempt may not be on disk yet
            self._fetch_last_progress()
        shipped = plugin_paths(self.plugins) if self.options.address else {}
        source = None if self.options.address else os.path.realpath(__file__)
        checkpoint, every = self.checkpoints.load(task.config.run_id), self.checkpoints.every
        reference = self.remote_task.remote(task, self.threads, self.progress_actor, shipped, source, checkpoint, every)
        self.running[reference] = task

    def wait(self, signals: Signals) -> list[RunResult]:
        """Returns the runs that have ended. If Ray died on this machine, all running runs have failed."""
        import ray

        if self._ray_has_died():
            with signals.interruptible():
                return self._restart()
        first, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_EVERY)
        done, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0) if first else ([], [])
        if time.monotonic() - self.polled > POLL_EVERY:
            self.polled = time.monotonic()
            self._fetch_progress()
            for reference in self._overdue():
                ray.cancel(reference, force=True)
        return [self._collect(reference) for reference in done]

    def drain(self, seconds: float) -> list[RunResult]:
        """Asks all runs for a checkpoint; returns those that end meanwhile, except those whose worker dies."""
        import ray

        if not self.running:  # as while Ray starts again, when no actor could be asked
            return []
        deadline, results = time.monotonic() + seconds, list[RunResult]()
        self.saved.clear()
        self.progress_actor.end.remote()
        while not self._all_saved() and not self._ray_has_died() and (left := deadline - time.monotonic()) > 0:
            done, _ = ray.wait(list(self.running), num_returns=1, timeout=min(DRAIN_EVERY, left))
            for reference in done:
                task = self.running.pop(reference)
                with contextlib.suppress(ray.exceptions.RayError):
                    results.append(self._localise(ray.get(reference), task))
            self._fetch_progress(min(DRAIN_EVERY, left))
        if not self._ray_has_died():
            self._fetch_last_progress()
        return results

    def _ray_has_died(self) -> bool:
        return not self.options.address and self.session.has_died()

    def _restart(self) -> list[RunResult]:
        """Restarts Ray on this machine; returns the runs that were lost with it."""
        lost = [self._lost(task, failures.NODE_LOST, "Ray died on this machine") for task in self.running.values()]
        self.running.clear()
        self.started.clear()
        self._connect()
        return lost

    def _collect(self, reference: Any) -> RunResult:
        import ray

        task = self._pop(reference)
        try:
            return self._localise(ray.get(reference), task)
        except ray.exceptions.RayError as error:
            return self._lost(task, failures.kind(error), one_line(error), str(error))

    def _localise(self, result: RunResult, task: RunTask) -> RunResult:
        """Replaces what differs on a worker: the paths of plug-ins, and the commit of the shipped code."""
        content = result.record.result | {"config": task.config.model_dump(mode="json")}
        if self.options.address:
            content["environment"] |= {"git_commit": environment.describe()["git_commit"]}
        return replace(result, task=task, record=replace(result.record, config=task.config, result=content))

    def _fetch_last_progress(self) -> None:
        """Saves the checkpoints reported so far, also those since a request that is still unanswered."""
        for _ in range(1 if self.fetching is None else 2):
            self._fetch_progress(LAST_FETCH)

    def _fetch_progress(self, timeout: float = POLL_EVERY) -> None:
        """Passes reported rounds to the listener, and saves reported checkpoints.

        An answer that takes longer than the timeout in seconds is left to the next call.
        """
        import ray

        if self.fetching is None:
            self.fetching = self.progress_actor.fetch.remote()
        try:
            rounds, checkpoints = ray.get(self.fetching, timeout=timeout)
        except ray.exceptions.GetTimeoutError:  # the actor is still starting, or the machine is busy
            return
        except ray.exceptions.RayError:  # its node was lost; new runs report to another actor
            with contextlib.suppress(ray.exceptions.RayError):  # Ray itself has died; the runs will report it
                self._start_progress_actor()
            return
        self.fetching = None
        for run_id, content in checkpoints.items():
            self._save(run_id, content)
        self._note_rounds(rounds)


def _task(
    task: RunTask,
    threads: int,
    progress_actor: Any,
    shipped_plugins: dict[str, str],
    source: str | None,
    checkpoint: bytes | None,
    checkpoint_every: float,
) -> RunResult:
    """Executes a run in a worker process.

    `shipped_plugins` maps the paths of plug-ins on the driver to those in the working directory. `source` is the
    driver's path of this module, if the worker has to use the same file.
    """
    own_source = os.path.realpath(__file__)
    if source not in (None, own_source):  # Ray lets workers import from the current directory first
        raise ConfigError(f"a Ray worker has imported {own_source} instead of {source}: start in another directory.")
    config, reporter = task.config, _Reporter(progress_actor, task.config.run_id)
    plugins = tuple(os.path.abspath(shipped_plugins.get(file, file)) for file in config.plugins)
    return run_captured(
        replace(task, config=config.model_copy(update={"plugins": plugins})),
        threads,
        reporter.report,
        Checkpoints(
            checkpoint,
            partial(progress_actor.save_checkpoint.remote, config.run_id),
            checkpoint_every,
            reporter.ends,
        ),
    )


class _Reporter:
    """Reports the rounds of a run from its worker, and learns from the answers whether the sweep is about to end."""

    def __init__(self, progress_actor: Any, run_id: str) -> None:
        self.progress_actor, self.run_id, self.worker = progress_actor, run_id, worker_name()
        self.answer: Any = None

    def report(self, number: int, images: int, row: dict[str, Any] | None) -> None:
        """Reports a round without waiting for the answer."""
        self.answer = self.progress_actor.report_round.remote(
            self.run_id, RoundReport(number, images, self.worker, row)
        )

    def ends(self) -> bool:
        """Whether the last answer that has arrived says so."""
        import ray

        if self.answer is None or not ray.wait([self.answer], timeout=0)[0]:
            return False
        with contextlib.suppress(ray.exceptions.RayError):  # the actor's node was lost
            return bool(ray.get(self.answer))
        return False
