"""Runs as Ray tasks, on this machine or on a cluster. Ray reuses its processes, so backbone and data load once each."""

import contextlib
import io
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
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
from fedprompt.benchmark.runs.execute import failed
from fedprompt.benchmark.runs.worker import RunResult, RunTask, run_task
from fedprompt.benchmark.sweep.nodes import check
from fedprompt.benchmark.sweep.options import SweepOptions
from fedprompt.benchmark.sweep.progress import ProgressListener
from fedprompt.benchmark.sweep.progress_actor import ProgressActor
from fedprompt.benchmark.sweep.signals import Signals

POLL = 0.5  # seconds between two looks at the board
LOG_KEPT = 200_000  # characters of a run's own output, the last ones
PACKAGES = ("benchmark", "data", "methods", "results")


class RayPool:
    """One task a run, at most `workers` at a time, or as many as the cluster holds. Used as a context."""

    def __init__(
        self,
        terms: SweepOptions,
        workers: int,
        configs: Sequence[RunConfig],
        watcher: ProgressListener,
        underway: CheckpointFiles,
    ) -> None:
        self.terms, self.workers, self.watcher, self.underway = terms, workers, watcher, underway
        self.threads = (terms.cpus or 1) if terms.address else terms.threads(workers)
        self.plugins = list(dict.fromkeys(file for config in configs for file in config.plugins))
        self.parcel: Path | None = None
        self.running: dict[Any, RunTask] = {}
        self.began: dict[str, float] = {}
        self.where: dict[str, str] = {}
        self.overdue: set[str] = set()
        self.counted = self.polled = float("-inf")

    def __enter__(self) -> "RayPool":
        with contextlib.ExitStack() as undo:
            undo.callback(self._close)
            if self.terms.address and self.plugins:
                self.parcel = Path(tempfile.mkdtemp(prefix="bench-plugins-"))
                for number, file in enumerate(self.plugins):
                    (self.parcel / str(number)).mkdir()
                    shutil.copy(file, self.parcel / str(number))
            self._connect()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        import ray

        ray.shutdown()
        if self.parcel:
            shutil.rmtree(self.parcel, ignore_errors=True)

    def _connect(self) -> None:
        import ray

        handler = signal.getsignal(signal.SIGTERM)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        local, cpus = not self.terms.address, self.terms.cpus or 1
        try:
            ray.init(
                address=self.terms.address
                or "local",  # without a word Ray would join what cluster runs on this machine
                num_cpus=self.workers * cpus if local else None,
                include_dashboard=False if local else None,
                runtime_env=None if local else self._shipped(),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, ray.exceptions.RayError) as error:
            raise ConfigError(
                f"--address {self.terms.address}: no Ray cluster answers there; `ray start --head` starts one.\n"
                "Where it says that it asks for a token, set RAY_AUTH_MODE=token here too (docs/cluster.md)."
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own there
        self._check_room(cpus)
        self.task = ray.remote(num_cpus=cpus, num_gpus=self.terms.gpus, max_retries=0, max_calls=0)(_task)
        self._hang_board()

    def _shipped(self) -> dict[str, Any]:
        """The project's code and the user's plug-ins, which another machine need not have."""
        root = Path(__file__).parents[2]
        shipped: dict[str, Any] = {
            "py_modules": [str(root / name) for name in PACKAGES],
            "env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
        }
        return shipped | ({"working_dir": str(self.parcel)} if self.parcel else {})

    def _check_room(self, cpus: int) -> None:
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]
        nodes = [node["Resources"] for node in alive]
        fit = [node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= self.terms.gpus for node in nodes]
        if not any(fit):
            most = (
                max((node.get("CPU", 0) for node in nodes), default=0),
                max((node.get("GPU", 0) for node in nodes), default=0),
            )
            raise ConfigError(
                f"a run asks for {cpus} CPUs and {self.terms.gpus:g} GPUs, and no node has more than {most[0]:g} and "
                f"{most[1]:g}; lower --cpus-per-run or --gpus-per-run."
            )
        if self.terms.address:
            fitting = [node for node, fits in zip(alive, fit, strict=True) if fits]
            check((node["NodeManagerAddress"], node["NodeID"]) for node in fitting)

    def _hang_board(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self.board = ray.remote(num_cpus=0)(ProgressActor).options(scheduling_strategy=here).remote()

    @property
    def room(self) -> bool:
        """Whether one more may begin. On a cluster a run more than fits waits, which is what makes clusters grow."""
        if self.terms.address and self.terms.workers is None and time.monotonic() - self.counted > 2:
            import ray

            self.counted = time.monotonic()
            total, cpus, gpus = ray.cluster_resources(), self.terms.cpus or 1, self.terms.gpus
            fits = [total.get("CPU", 0) // cpus, *([total.get("GPU", 0) // gpus] if gpus else [])]
            self.workers = int(min(fits)) + 1
        return len(self.running) < self.workers

    def start(self, job: RunTask) -> None:
        """Hands a run to Ray."""
        places = {file: f"{n}/{Path(file).name}" for n, file in enumerate(self.plugins)} if self.parcel else {}
        if job.attempt > 1:  # what the attempt before handed in last may not be on disk yet
            self._read_board()
        found, every = self.underway.found(job.config.run_id), self.underway.every
        self.running[self.task.remote(job, self.threads, self.board, places, found, every)] = job

    def wait(self, signals: Signals) -> list[RunResult]:
        """The runs that have ended; on a lost Ray, all that were running."""
        import ray

        first, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL)
        done, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0) if first else ([], [])
        if time.monotonic() - self.polled > POLL:
            self.polled = time.monotonic()
            self._read_board()
            self._end_overdue()
        finished = [self._collected(reference) for reference in done]
        lost = any(f.record.result.get("error_kind") == failures.NODE_LOST for f in finished)
        return finished + (self._mended() if lost and not self.terms.address else [])

    def drain(self, seconds: float) -> list[RunResult]:
        """The runs that end within so many seconds, without those that die meanwhile."""
        import ray

        until, finished = time.monotonic() + seconds, list[RunResult]()
        while self.running:
            done, _ = ray.wait(list(self.running), num_returns=1, timeout=max(0.0, until - time.monotonic()))
            if not done:
                break
            job = self.running.pop(done[0])
            with contextlib.suppress(ray.exceptions.RayError):
                finished.append(self._own(ray.get(done[0]), job))
        self._read_board()
        return finished

    def _mended(self) -> list[RunResult]:
        """Ray started anew on this machine, where it has died; what was running with it."""
        import ray

        lost = [self._failed(job, failures.NODE_LOST, "Ray died on this machine") for job in self.running.values()]
        self.running.clear()
        self.began.clear()
        self.overdue.clear()
        ray.shutdown()
        self._connect()
        return lost

    def _collected(self, reference: Any) -> RunResult:
        import ray

        job = self.running.pop(reference)
        run_id = job.config.run_id
        self.began.pop(run_id, None)
        try:
            return self._own(ray.get(reference), job)
        except ray.exceptions.RayError as error:
            if run_id in self.overdue:
                self.overdue.discard(run_id)
                said = f"ended after {self.terms.run_timeout:g} s (--run-timeout)"
                return self._failed(job, failures.TIME_LIMIT, said)
            return self._failed(job, failures.kind(error), failures.cause(error), str(error))

    def _failed(self, job: RunTask, kind: str, error: str, log: str = "") -> RunResult:
        record = failed(job.config, error, kind)
        worker = self.where.get(job.config.run_id, "")
        return RunResult(job, replace(record, result=record.result | {"when": {"worker": worker}}), log or error)

    def _own(self, finished: RunResult, job: RunTask) -> RunResult:
        """A worker's report, under the configuration that it was given here: there plug-ins lay elsewhere."""
        result = finished.record.result | {"config": job.config.model_dump(mode="json")}
        if self.terms.address:  # the code was shipped from here, without its history
            result["environment"] |= {"git_commit": environment.describe()["git_commit"]}
        return replace(finished, job=job, record=replace(finished.record, config=job.config, result=result))

    def _read_board(self) -> None:
        import ray

        try:
            news, checkpoints = ray.get(self.board.take.remote(), timeout=5)
        except (ray.exceptions.RayError, TimeoutError):  # it went with its node; rounds are told on another one
            with contextlib.suppress(ray.exceptions.RayError):  # Ray itself is gone, which the runs will say
                self._hang_board()
            return
        for run_id, content in checkpoints.items():
            self.underway.keep(run_id, content)
        running = {job.config.run_id for job in self.running.values()}
        for run_id, (number, images, worker) in news.items():
            if run_id in running:
                self.began.setdefault(run_id, time.monotonic())
                self.where[run_id] = worker
                self.watcher.round_done(run_id, number, images, worker)

    def _end_overdue(self) -> None:
        import ray

        limit = self.terms.run_timeout
        for reference, job in self.running.items():
            began = self.began.get(job.config.run_id)
            if limit and began and time.monotonic() - began > limit and job.config.run_id not in self.overdue:
                self.overdue.add(job.config.run_id)
                ray.cancel(reference, force=True)


def _task(
    job: RunTask, threads: int, board: Any, places: dict[str, str], found: bytes | None, checkpoint_every: float
) -> RunResult:
    """A run in a worker. `places` are the plug-ins' in the worker's directory, where they were shipped to it."""
    config, worker = job.config, f"{socket.gethostname()}:{os.getpid()}"
    board.post.remote(config.run_id, 0, 0, worker)
    plugins = tuple(os.path.abspath(places.get(file, file)) for file in config.plugins)
    job = replace(job, config=config.model_copy(update={"plugins": plugins}))
    with _captured() as output:
        kept = Checkpoints(found, partial(board.keep.remote, config.run_id), checkpoint_every)
        finished = run_task(job, threads, lambda *news: board.post.remote(config.run_id, *news, worker), kept)
    result = {"when": {"worker": worker}} | finished.record.result
    if result["error_kind"] == failures.NO_DATA:
        result["error"] += f" (on node {socket.gethostname()})"
    said = output.getvalue()[-LOG_KEPT:]
    return replace(finished, record=replace(finished.record, result=result), log=said + finished.log)


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    """What a worker prints, warns and logs meanwhile."""
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            yield output
    finally:
        logging.getLogger().removeHandler(handler)
