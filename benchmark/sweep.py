"""Runs a grid: in this process, or one Ray task a run; the driver alone writes, and finished runs stay finished."""

import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmark import activations
from benchmark.config import RunConfig
from benchmark.errors import ConfigError
from benchmark.machine import processors
from benchmark.runner import Record, execute, failed, simulator
from benchmark.store import Store

log = logging.getLogger("bench")


class Watcher(Protocol):
    """Whoever is told how a sweep goes on."""

    def round_done(self, run_id: str, number: int) -> None:
        """A running run has finished a round."""

    def run_done(self, record: Record) -> None:
        """A run has ended, well or not, and is in the store."""


@dataclass(frozen=True)
class Finished:
    """A run as its worker reports it: the record, and the text of its log."""

    record: Record
    log: str = ""


def preflight(configs: Sequence[RunConfig]) -> None:
    """Sets up each distinct job without training it, so that a user's mistake shows before anything runs."""
    activations.ready()
    distinct = {(c.method, c.dataset, c.alpha): c for c in configs}  # what is wrong is wrong for every seed
    for config in distinct.values():
        simulator(config)


def guarded(config: RunConfig, threads: int, progress: Callable[[int], None]) -> Finished:
    """A run whose failure, of any kind, becomes a record; the traceback goes to its log."""
    try:
        return Finished(execute(config, threads, progress))
    except Exception as error:  # a method may raise anything, and the other runs go on
        return Finished(failed(config, f"{type(error).__name__}: {error}"), traceback.format_exc())


def run_all(configs: Sequence[RunConfig], store: Store, workers: int, watcher: Watcher, address: str | None) -> int:
    """Runs what is pending, each written as soon as it ends; returns how many failed."""
    failures = 0
    share = max(1, processors() // workers)
    results = _on_ray(configs, workers, share, watcher, address) if workers > 1 or address else _here(configs, watcher)
    for finished in results:
        store.write(finished.record, finished.log)
        watcher.run_done(finished.record)
        failures += finished.record.result["status"] != "done"
    return failures


def _here(configs: Sequence[RunConfig], watcher: Watcher) -> Iterator[Finished]:
    for config in configs:
        yield guarded(config, processors(), lambda number, c=config: watcher.round_done(c.run_id, number))  # type: ignore[misc]


def _on_ray(
    configs: Sequence[RunConfig], workers: int, threads: int, watcher: Watcher, address: str | None
) -> Iterator[Finished]:
    """One task a run, at most `workers` at a time; Ray reuses the processes, so backbone and data load once each."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    try:
        ray.init(
            address=address or "local",  # without a word Ray would join whatever cluster runs on this machine
            num_cpus=None if address else workers,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            f"--address {address}: no Ray cluster answers there; `ray start --head` starts one."
        ) from error
    try:
        board = ray.remote(num_cpus=0)(_Board).remote()
        task = ray.remote(num_cpus=1, max_retries=0)(_task)
        waiting, running = list(configs), dict[Any, RunConfig]()
        with _Polling(board, watcher):
            while waiting or running:
                while waiting and len(running) < workers:
                    config = waiting.pop(0)
                    running[task.remote(config, threads, board)] = config
                done, _ = ray.wait(list(running), num_returns=1)
                yield _collected(done[0], running.pop(done[0]))
    finally:
        ray.shutdown()


def _collected(reference: Any, config: RunConfig) -> Finished:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:  # the worker died: killed, or out of memory
        cause = str(error).strip().splitlines()[0]
        return Finished(failed(config, f"{type(error).__name__}: {cause}"), str(error))


def _task(config: RunConfig, threads: int, board: Any) -> Finished:
    return guarded(config, threads, lambda number: board.post.remote(config.run_id, number))


class _Board:
    """The actor that workers tell their rounds."""

    def __init__(self) -> None:
        self.rounds: dict[str, int] = {}

    def post(self, run_id: str, number: int) -> None:
        self.rounds[run_id] = number

    def take(self) -> dict[str, int]:
        news, self.rounds = self.rounds, {}
        return news


class _Polling:
    """Passes the board's news on to the watcher twice a second, from a thread."""

    def __init__(self, board: Any, watcher: Watcher) -> None:
        self.board, self.watcher, self.stop = board, watcher, threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _loop(self) -> None:
        import ray

        while not self.stop.wait(0.5):
            for run_id, number in ray.get(self.board.take.remote()).items():
                self.watcher.round_done(run_id, number)
