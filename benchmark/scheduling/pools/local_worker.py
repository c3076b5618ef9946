"""A worker process of `bench sweep --local`: executes the runs that it receives, until the driver ends."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Terminals and batch systems send these to all processes; the driver decides when a worker ends."""


def serve(pipe: Connection, threads: int, environment: Mapping[str, str]) -> None:
    """Executes one run after another, and sends their rounds, checkpoints and results.

    Args:
        pipe: Yields runs as `(task, checkpoint, seconds between checkpoints)`; None during a run asks for a checkpoint.
        threads: Threads per run.
        environment: Environment variables for numpy and CUDA, which read them when they are loaded.
    """
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    os.environ.update(environment)
    from fedprompt.benchmark.runs.checkpointer import Checkpoints
    from fedprompt.benchmark.scheduling.pools.worker_run import run_captured

    def report(number: int, images: int, row: dict[str, Any] | None) -> None:
        pipe.send(("round", (number, images, row)))

    def save(checkpoint: bytes) -> None:
        pipe.send(("checkpoint", checkpoint))

    while True:
        try:
            message = pipe.recv()
        except EOFError:
            return
        if message is None:  # the run has ended meanwhile
            continue
        task, checkpoint, every = message
        checkpoints = Checkpoints(checkpoint, save, every, wanted=pipe.poll)
        try:
            pipe.send(("result", run_captured(task, threads, report, checkpoints)))
        except Exception as error:  # for example, the result cannot be pickled
            pipe.send(("error", (error, traceback.format_exc())))


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None, "a worker has a driver"
    driver.join()
    os._exit(1)
