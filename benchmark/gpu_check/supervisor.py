"""Executes functions in processes of their own, which are stopped at a time limit.

A process that hangs or crashes takes nothing else with it, and what it reported before is kept. The processes are
forked from a server that has imported the checks but has not touched the GPU, so that each starts at once.
"""

import multiprocessing
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

import psutil

from fedprompt.benchmark.gpu_check.job import Report

PRELOADED = "fedprompt.benchmark.gpu_check.checks"
START_SECONDS = 120  # for the imports of the server

Status = Literal["done", "failed", "timed out", "died"]


@dataclass
class Outcome:
    """How a function ended, its last report, and the error of one that failed."""

    status: Status
    seconds: float = 0.0
    report: Report = field(default_factory=dict)
    error: str = ""


class Supervisor:
    """Starts processes from one server."""

    def __init__(self) -> None:
        known = multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
        if self.context.get_start_method() == "forkserver":
            self.context.set_forkserver_preload([PRELOADED])

    def start(self) -> None:
        """Starts the server and waits until it is ready."""
        process = self.context.Process(target=time.sleep, args=(0,))
        process.start()
        process.join(START_SECONDS)

    def run(self, function: Callable[..., None], arguments: tuple[Any, ...], seconds: float) -> Outcome:
        """Calls `function(*arguments, send)` in a process, where `send` takes a report, and stops it at the limit.

        Args:
            function: A function of a module, which the process imports.
            arguments: Values that can be pickled.
            seconds: The time limit.
        """
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_execute, args=(function, arguments, sender))
        began = time.monotonic()
        process.start()
        sender.close()
        outcome = Outcome("died")
        try:
            while receiver.poll(max(0.0, began + seconds - time.monotonic())):
                kind, content = receiver.recv()
                if kind == "report":
                    outcome.report = content
                else:
                    outcome.status, outcome.error = kind, content
            outcome.status, outcome.error = "timed out", f"not finished after {seconds:g} s"
        except (EOFError, OSError):  # the process has ended
            process.join(1)
        finally:
            _stop(process)
            receiver.close()
        if outcome.status == "died":
            outcome.error = f"its process ended with exit code {process.exitcode}"
        outcome.seconds = round(time.monotonic() - began, 1)
        return outcome


def _execute(function: Callable[..., None], arguments: tuple[Any, ...], out: Connection) -> None:
    """Runs in the new process."""
    try:
        function(*arguments, lambda report: out.send(("report", report)))
    except Exception as error:  # any failure is a finding
        traceback.print_exc()
        out.send(("failed", f"{type(error).__name__}: {error}"))
    else:
        out.send(("done", ""))


def _stop(process: BaseProcess) -> None:
    """Kills a process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(process.pid)
        for one in [*own.children(recursive=True), own]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.join(10)
