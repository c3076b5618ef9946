"""Executes runs as Ray tasks, on this machine or on a cluster.

Ray reuses its worker processes, so each one loads the backbone and the data only once.
"""

import contextlib
import io
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
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
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.worker import RunResult, RunTask, run_task
from fedprompt.benchmark.sweep import cluster, nodes
from fedprompt.benchmark.sweep.options import SweepOptions
from fedprompt.benchmark.sweep.progress import ProgressListener
from fedprompt.benchmark.sweep.progress_actor import ProgressActor
from fedprompt.benchmark.sweep.shipping import WORKER_ENVIRONMENT, plugin_paths, runtime_environment
from fedprompt.benchmark.sweep.signals import Signals
from fedprompt.results.text import MAX_LOG, one_line

POLL_EVERY = 0.5  # seconds between two requests to the progress actor
CAPACITY_EVERY = 2.0  # seconds between two looks at the size of a cluster


class RayPool:
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
        self.options, self.workers, self.listener, self.checkpoints = options, workers, listener, checkpoints
        self.cpus = options.cpus or 1
        self.threads = self.cpus if options.address else options.threads_per_run(workers)
        self.plugins = list(dict.fromkeys(file for config in configs for file in config.plugins))
        self.runtime_env: dict[str, Any] | None = None
        self.running: dict[Any, RunTask] = {}  # by Ray's reference to the result
        self.started: dict[str, float] = {}  # by run id, like those below
        self.worker_of: dict[str, str] = {}
        self.timed_out: set[str] = set()
        self.capacity_checked = self.polled = float("-inf")

    def __enter__(self) -> "RayPool":
        import ray

        with contextlib.ExitStack() as stack:
            if self.options.address:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-shipped-"))
                self.runtime_env = runtime_environment(Path(folder), self.plugins)
            stack.callback(ray.shutdown)
            self._connect()
            self.cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup.close()

    def _connect(self) -> None:
        import ray

        for name, value in WORKER_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        local = not self.options.address
        cluster.connect(
            self.options.address,
            num_cpus=self.workers * self.cpus if local else None,
            include_dashboard=False if local else None,
            runtime_env=self.runtime_env,
        )
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
            self._fetch_progress()
        shipped = plugin_paths(self.plugins) if self.options.address else {}
        source = None if self.options.address else os.path.realpath(__file__)
        checkpoint, every = self.checkpoints.load(task.config.run_id), self.checkpoints.every
        reference = self.remote_task.remote(task, self.threads, self.progress_actor, shipped, source, checkpoint, every)
        self.running[reference] = task

    def wait(self, signals: Signals) -> list[RunResult]:
        """Returns the runs that have ended. If Ray died on this machine, all running runs have failed."""
        import ray

        first, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_EVERY)
        done, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0) if first else ([], [])
        if time.monotonic() - self.polled > POLL_EVERY:
            self.polled = time.monotonic()
            self._fetch_progress()
            self._cancel_overdue()
        results = [self._collect(reference) for reference in done]
        ray_died = any(result.record.result.get("error_kind") == failures.NODE_LOST for result in results)
        return results + (self._restart() if ray_died and not self.options.address else [])

    def drain(self, seconds: float) -> list[RunResult]:
        """Returns the runs that end within this time, except those whose worker dies."""
        import ray

        deadline, results = time.monotonic() + seconds, list[RunResult]()
        while self.running:
            done, _ = ray.wait(list(self.running), num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
            if not done:
                break
            task = self.running.pop(done[0])
            with contextlib.suppress(ray.exceptions.RayError):
                results.append(self._localise(ray.get(done[0]), task))
        self._fetch_progress()
        return results

    def _restart(self) -> list[RunResult]:
        """Restarts Ray on this machine; returns the runs that were lost with it."""
        import ray

        lost = [self._failed(task, failures.NODE_LOST, "Ray died on this machine") for task in self.running.values()]
        self.running.clear()
        self.started.clear()
        self.timed_out.clear()
        ray.shutdown()
        self._connect()
        return lost

    def _collect(self, reference: Any) -> RunResult:
        import ray

        task = self.running.pop(reference)
        run_id = task.config.run_id
        self.started.pop(run_id, None)
        try:
            return self._localise(ray.get(reference), task)
        except ray.exceptions.RayError as error:
            if run_id in self.timed_out:
                self.timed_out.discard(run_id)
                return self._failed(
                    task, failures.TIME_LIMIT, f"stopped after {self.options.run_timeout:g} s (--run-timeout)"
                )
            return self._failed(task, failures.kind(error), one_line(error), str(error))

    def _failed(self, task: RunTask, kind: str, error: str, log: str = "") -> RunResult:
        record = failed(task.config, error, kind)
        worker = self.worker_of.get(task.config.run_id, "")
        return RunResult(task, replace(record, result=record.result | {"when": {"worker": worker}}), log or error)

    def _localise(self, result: RunResult, task: RunTask) -> RunResult:
        """Replaces what differs on a worker: the paths of plug-ins, and the commit of the shipped code."""
        content = result.record.result | {"config": task.config.model_dump(mode="json")}
        if self.options.address:
            content["environment"] |= {"git_commit": environment.describe()["git_commit"]}
        return replace(result, task=task, record=replace(result.record, config=task.config, result=content))

    def _fetch_progress(self) -> None:
        """Passes reported rounds to the listener, and saves reported checkpoints."""
        import ray

        try:
            rounds, checkpoints = ray.get(self.progress_actor.fetch.remote(), timeout=5)
        except (ray.exceptions.RayError, TimeoutError):  # its node was lost; new runs report to another actor
            with contextlib.suppress(ray.exceptions.RayError):  # Ray itself has died; the runs will report it
                self._start_progress_actor()
            return
        for run_id, content in checkpoints.items():
            self.checkpoints.save(run_id, content)
        running = {task.config.run_id for task in self.running.values()}
        for run_id, (number, images, worker) in rounds.items():
            if run_id in running:
                self.started.setdefault(run_id, time.monotonic())
                self.worker_of[run_id] = worker
                self.listener.round_done(run_id, number, images, worker)

    def _cancel_overdue(self) -> None:
        import ray

        limit = self.options.run_timeout
        for reference, task in self.running.items():
            run_id = task.config.run_id
            started = self.started.get(run_id)
            if limit and started and time.monotonic() - started > limit and run_id not in self.timed_out:
                self.timed_out.add(run_id)
                ray.cancel(reference, force=True)


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
    config, worker = task.config, f"{socket.gethostname()}:{os.getpid()}"
    progress_actor.report_round.remote(config.run_id, 0, 0, worker)
    plugins = tuple(os.path.abspath(shipped_plugins.get(file, file)) for file in config.plugins)
    task = replace(task, config=config.model_copy(update={"plugins": plugins}))
    with _captured_output() as output:
        save = partial(progress_actor.save_checkpoint.remote, config.run_id)
        result = run_task(
            task,
            threads,
            lambda number, images: progress_actor.report_round.remote(config.run_id, number, images, worker),
            Checkpoints(checkpoint, save, checkpoint_every),
        )
    content = {"when": {"worker": worker}} | result.record.result
    if content["error_kind"] == failures.NO_DATA:
        content["error"] += f" (on node {socket.gethostname()})"
    printed = output.getvalue()[-MAX_LOG:]
    return replace(result, record=replace(result.record, result=content), log=printed + result.log)


@contextlib.contextmanager
def _captured_output() -> Iterator[io.StringIO]:
    """Captures what this process prints, warns and logs."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            yield output
    finally:
        logging.getLogger().removeHandler(handler)
