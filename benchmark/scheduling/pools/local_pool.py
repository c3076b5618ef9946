"""Executes runs in processes of this machine that are connected by pipes. It opens no port and does not need Ray.

A process executes many runs, so each one loads the backbone and the data only once.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import psutil

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpoint_files import CheckpointFiles
from fedprompt.benchmark.runs.worker import RunResult, RunTask
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.pools import local_worker
from fedprompt.benchmark.scheduling.pools.worker_pool import POLL_EVERY, WorkerPool
from fedprompt.benchmark.scheduling.progress import ProgressListener
from fedprompt.benchmark.scheduling.progress_actor import RoundReport
from fedprompt.benchmark.scheduling.signals import Signals
from fedprompt.results.text import one_line


@dataclass(eq=False)
class _Worker:
    """A worker process, the driver's end of its pipe, and its GPUs."""

    process: BaseProcess
    pipe: "connection.Connection[Any, Any]"
    gpus: str | None

    @property
    def name(self) -> str:
        """Host and process id, as records name the worker."""
        return f"{socket.gethostname()}:{self.process.pid}"


class LocalPool(WorkerPool):
    """Executes up to `workers` runs at a time, each in a worker process, while used as a context."""

    def __init__(
        self, options: SweepOptions, workers: int, listener: ProgressListener, checkpoints: CheckpointFiles
    ) -> None:
        self.free_gpus: list[str | None] = _shares(options.gpus, _gpus()) if options.gpus else [None] * workers
        if not self.free_gpus:
            raise ConfigError(
                f"a run needs {options.gpus:g} GPUs; this machine has {len(_gpus())}. Lower --gpus-per-run."
            )
        super().__init__(options, min(workers, len(self.free_gpus)), listener, checkpoints)
        self.threads = options.threads_per_run(self.workers)
        self.idle: list[_Worker] = []

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self.running, *self.idle):
            _kill(worker)
            worker.pipe.close()

    @property
    def has_capacity(self) -> bool:
        """Whether another run can start."""
        return len(self.running) < self.workers

    def start(self, task: RunTask) -> None:
        """Sends a run to an idle worker, or to a new one."""
        worker = self.idle.pop() if self.idle else self._new_worker()
        self.running[worker] = task
        with suppress(OSError):  # the worker has died, which `wait` notices
            worker.pipe.send((task, self.checkpoints.load(task.config.run_id), self.checkpoints.every))

    def wait(self, signals: Signals) -> list[RunResult]:
        """Returns the runs that have ended."""
        for worker in self._overdue():
            _kill(worker)
        connection.wait([worker.pipe for worker in self.running], POLL_EVERY)
        results = [self._receive(worker) for worker in list(self.running)]
        return [result for result in results if result is not None]

    def drain(self, seconds: float) -> list[RunResult]:
        """Asks all runs for a checkpoint; returns those that end meanwhile, except those whose worker dies."""
        deadline, results = time.monotonic() + seconds, list[RunResult]()
        self.saved.clear()
        for worker in self.running:
            with suppress(OSError):
                worker.pipe.send(None)
        while not self._all_saved() and (left := deadline - time.monotonic()) > 0:
            connection.wait([worker.pipe for worker in self.running], left)
            ended = [(worker, self._receive(worker)) for worker in list(self.running)]
            results += [result for worker, result in ended if result is not None and worker in self.idle]
        return results

    def _new_worker(self) -> _Worker:
        """Starts a worker process. Like Ray, it limits the threads of numpy to the processors of a run."""
        gpus = self.free_gpus.pop()
        environment = {"CUDA_VISIBLE_DEVICES": gpus} if gpus is not None else {}
        environment |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.options.cpus or 1))}
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=local_worker.serve, args=(theirs, self.threads, environment))
        with _without_main_module():
            process.start()
        theirs.close()
        return _Worker(process, ours, gpus)

    def _receive(self, worker: _Worker) -> RunResult | None:
        """Handles what a worker has sent; returns the result of its run if that has ended."""
        run_id = self.running[worker].config.run_id
        try:
            while worker.pipe.poll():
                kind, content = worker.pipe.recv()
                if kind == "round":
                    number, images, row = content
                    self._note_rounds({run_id: [RoundReport(number, images, worker.name, row)]})
                elif kind == "checkpoint":
                    self._save(run_id, content)
                else:
                    self.idle.append(worker)
                    task = self._pop(worker)
                    return content if kind == "result" else self._failed(task, *content)
        except (EOFError, OSError):  # also if it has died within a message
            return self._dead(worker)
        return None if worker.process.is_alive() or worker.pipe.poll() else self._dead(worker)

    def _failed(self, task: RunTask, error: Exception, log: str) -> RunResult:
        return self._lost(task, failures.kind(error), one_line(error), log)

    def _dead(self, worker: _Worker) -> RunResult:
        """Returns the result of a run whose worker has died, and frees the place of the worker."""
        _kill(worker)
        worker.pipe.close()
        self.free_gpus.append(worker.gpus)
        code = worker.process.exitcode or 0
        cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return self._lost(self._pop(worker), failures.WORKER_KILLED, f"the worker process {cause}")


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Lets new processes not import the main module: a user's script would start its own sweep again in each."""
    main = sys.modules["__main__"]
    names: dict[str, Any] = vars(main)
    before = dict(names)
    names["__spec__"] = names["__file__"] = None
    try:
        yield
    finally:
        for name in ("__spec__", "__file__"):
            if name in before:
                names[name] = before[name]
            else:
                del names[name]


def _kill(worker: _Worker) -> None:
    """Ends a worker and the processes that its run may have started."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(worker.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    worker.process.kill()
    worker.process.join()


def _gpus() -> list[str]:
    """Returns the GPUs of this process, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count, visible = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible is not None else [str(number) for number in range(count)]


def _shares(gpus: float, available: list[str]) -> list[str | None]:
    """Returns the GPUs of each worker if a run needs `gpus`, a fraction of one or a whole number."""
    if gpus < 1:
        return [gpu for _ in range(int(1 / gpus)) for gpu in available]
    size = int(gpus)
    return [",".join(available[k : k + size]) for k in range(0, len(available) - size + 1, size)]
