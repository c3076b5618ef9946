"""Runs a command and samples the memory of all its processes, including those that left its process group."""

import os
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "BENCH_FRAMEWORKS_RUN"  # environment variable that identifies all processes of a run, as children inherit it
PAUSE, SAMPLING_SHARE = 0.25, 0.04  # minimum seconds between samples; share of one processor that sampling may take
REMOVED = ("PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS", "RAY_ADDRESS")  # environment variables not passed on
TIME_LIMIT = 1800.0  # seconds after which the command is killed
KILL_PAUSE, KILL_LIMIT = 0.1, 10.0  # seconds between two searches for remaining processes, and in total


@dataclass(frozen=True)
class Usage:
    """Resources of a command: exit code, start (Unix time), duration in seconds, peak memory in bytes.

    `pss` counts a page that n processes share as 1/n for each; `rss` counts it in full. Both are None except on Linux.
    """

    code: int
    started: float
    seconds: float
    pss: int | None
    rss: int | None


def run(command: list[str], log: Path, settings: dict[str, str]) -> Usage:
    """Runs a command, writes its output to `log`, and kills all processes that remain.

    Args:
        command: The command and its arguments.
        log: File for stdout and stderr; its folder is the working directory.
        settings: Additional environment variables.
    """
    mark = uuid.uuid4().hex
    environment = {k: v for k, v in os.environ.items() if k not in REMOVED} | settings | {MARK: mark}
    pss, rss, started, clock = 0, 0, time.time(), time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() - clock < TIME_LIMIT:
                sampling = time.perf_counter()
                now = memory(processes(mark))
                pss, rss = max(pss, now[0]), max(rss, now[1])
                cost = time.perf_counter() - sampling
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(PAUSE, cost / SAMPLING_SHARE))
            seconds = time.monotonic() - clock
        finally:
            process.kill()
            process.wait()
            kill(mark)
    if not psutil.LINUX:
        return Usage(process.returncode, started, seconds, None, None)
    return Usage(process.returncode, started, seconds, pss, rss)


def processes(mark: str) -> list[psutil.Process]:
    """Returns the processes whose environment has the mark."""
    marked = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has ended, or belongs to another user
            if process.environ().get(MARK) == mark:
                marked.append(process)
    return marked


def kill(mark: str) -> None:
    """Kills all processes with the mark and waits until none is left.

    Searches twice before it stops: a process that is replacing its program briefly has no environment.
    """
    empty_searches, deadline = 0, time.monotonic() + KILL_LIMIT
    while empty_searches < 2 and time.monotonic() < deadline:
        marked = processes(mark)
        for process in marked:
            with suppress(psutil.Error):
                process.kill()
        empty_searches = 0 if marked else empty_searches + 1
        time.sleep(KILL_PAUSE)


def memory(processes: list[psutil.Process]) -> tuple[int, int]:
    """Returns the sums of proportional and resident set sizes in bytes; Linux only, elsewhere 0."""
    pss = rss = 0
    for process in processes:
        with suppress(psutil.Error, OSError, AttributeError):
            usage = process.memory_full_info()
            pss, rss = pss + usage.pss, rss + usage.rss
    return pss, rss
