"""Real sweeps in processes of their own, and the processes below them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCH = """
import signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["fedprompt.results.figures.drawing"] = types.SimpleNamespace(draw=lambda *_, **__: [])
from fedprompt.benchmark.cli import main
main()
"""
"""`bench` without figures, which take longer than small runs, and which hears Ctrl-C even from the background."""


def start(*words: object, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """`bench WORDS...` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", BENCH, *map(str, words)],
        cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(condition: Callable[[], object], seconds: float = 120, told: Callable[[], object] = str) -> None:
    """Waits for something to become true; what `told` returns says why it did not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain {told()}"
        time.sleep(0.05)


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """Every living process below one, with its command line."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    below = list(parents.get(pid, ()))
    while below:
        child = below.pop()
        below += parents.get(child, ())
        try:
            yield child, Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def kill(pid: int) -> None:
    """kill -9, of what may have ended already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def gone(processes: dict[int, str], seconds: float) -> None:
    """Waits until all of these processes have ended."""
    left = lambda: {pid: words for pid, words in processes.items() if _runs(pid)}  # noqa: E731
    until(lambda: not left(), seconds, left)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def untimed(table: str) -> str:
    """A table in JSON without the rows that say how long runs took."""
    return json.dumps([row for row in json.loads(table) if row["metric"] != "seconds"])
