"""Starts real sweeps in processes of their own, and finds and kills their child processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
BENCH = """
import signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["fedprompt.results.figures.drawing"] = types.SimpleNamespace(draw=lambda *_, **__: [])
from fedprompt.benchmark.cli import main
main()
"""
"""`bench` without figures, which take longer than small runs. It handles Ctrl-C even as a background process."""


def start(*words: object, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """Starts `bench WORDS...` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", BENCH, *map(str, words)],
        cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(condition: Callable[[], object], seconds: float = 120, explain: Callable[[], object] = str) -> None:
    """Waits until a condition is true. After a timeout, fails with what `explain` returns."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"timeout {explain()}"
        time.sleep(0.05)


def descendants(pid: int) -> dict[int, str]:
    """Returns the command lines of all running processes below one, by process id."""
    lines = {}
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if _runs(process.pid):
                    lines[process.pid] = " ".join(process.cmdline())
    return lines


def kill(pid: int) -> None:
    """Sends SIGKILL to a process, which may have ended already."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()


def gone(processes: dict[int, str], seconds: float) -> None:
    """Waits until all of these processes have ended."""
    left = lambda: {pid: line for pid, line in processes.items() if _runs(pid)}  # noqa: E731
    until(lambda: not left(), seconds, left)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def untimed(table: str) -> str:
    """Returns a table in JSON without the rows on durations."""
    return json.dumps([row for row in json.loads(table) if row["metric"] != "seconds"])
