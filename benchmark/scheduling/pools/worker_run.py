"""Executes one run in a worker process, whichever pool has started it."""

import contextlib
import io
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from fedprompt.benchmark.runs import failures
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.worker import RunResult, RunTask, run_task
from fedprompt.results.text import MAX_LOG


def worker_name() -> str:
    """Returns the name of this process in records and progress: HOST:PID."""
    return f"{socket.gethostname()}:{os.getpid()}"


def run_captured(
    task: RunTask, threads: int, report: Callable[[int, int, dict[str, Any] | None], None], checkpoints: Checkpoints
) -> RunResult:
    """Executes a run. What it prints and logs becomes its log, and this process its worker.

    `report` is called with 0, 0, None when the run starts, and after each round as in `run_task`.
    """
    report(0, 0, None)
    with _captured_output() as output:
        result = run_task(task, threads, report, checkpoints)
    content = {"when": {"worker": worker_name()}} | result.record.result
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
