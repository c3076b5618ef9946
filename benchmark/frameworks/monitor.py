"""Runs a contestant and samples the memory of all its processes, those included that left its process group."""

import os
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

MARK = "BENCH_PEERS_RUN"  # an environment variable that children inherit, so that none is missed
PAUSE, SHARE = 0.25, 0.04  # seconds between samples, and the share of one processor that sampling may take
UNWANTED = ("PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS", "RAY_ADDRESS")
LIMIT = 1800.0  # seconds after which a contestant is given up
LOOK, GRACE = 0.1, 10.0  # seconds between two looks for processes left over, and until one is given up
PROC = Path("/proc")


@dataclass(frozen=True)
class Watched:
    """How a command ended, when it started (the clock's time), how long it took, and its peak memory in bytes.

    `pss` counts a page that n processes share as one nth for each, `rss` in full; None where there is no /proc.
    """

    code: int
    began: float
    seconds: float
    pss: int | None
    rss: int | None


def run(command: list[str], log: Path, settings: dict[str, str]) -> Watched:
    """Runs `command` to its end with its output in `log`; leaves no process behind."""
    mark = uuid.uuid4().hex
    environment = {k: v for k, v in os.environ.items() if k not in UNWANTED} | settings | {MARK: mark}
    peak, began = (0, 0), time.time()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent, start_new_session=True
        )
        try:
            while process.poll() is None and time.time() - began < LIMIT:
                sampled = time.perf_counter()
                now = memory(processes(mark))
                peak = (max(peak[0], now[0]), max(peak[1], now[1]))
                cost = time.perf_counter() - sampled
                _wait(process, max(PAUSE, cost / SHARE))
            seconds = time.time() - began
        finally:
            process.kill()
            process.wait()
            end(mark)
    pss, rss = peak if PROC.is_dir() else (None, None)
    return Watched(process.returncode, began, seconds, pss, rss)


def processes(mark: str) -> list[int]:
    """The processes whose environment carries the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for place in PROC.glob("[0-9]*"):
        try:
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def end(mark: str) -> None:
    """Kills every process that carries the mark, and waits until none is left.

    Looks twice before it believes that: while a process replaces its program it has no environment to be seen.
    """
    unseen, deadline = 0, time.monotonic() + GRACE
    while unseen < 2 and time.monotonic() < deadline:
        found = processes(mark)
        for pid in found:
            _kill(pid)
        unseen = 0 if found else unseen + 1
        time.sleep(LOOK)


def memory(pids: list[int]) -> tuple[int, int]:
    """Sums of the processes' proportional and full resident memory, in bytes."""
    pss = rss = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if line.endswith("kB")}
        pss += kilobytes.get("Pss", 0) * 1024
        rss += kilobytes.get("Rss", 0) * 1024
    return pss, rss


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
