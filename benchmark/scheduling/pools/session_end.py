"""A script that waits until the driver of a Ray session ends, kills what is left of it, and deletes its folder.

Usage: session_end.py FOLDER DRIVER, with the driver holding the other end of stdin. If its driver is killed, Ray
leaves processes for half a minute; it never deletes a session.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil

ATTEMPTS = 50


def processes(folder: Path) -> list[psutil.Process]:
    """Returns the running processes of a session, whoever their parent is by now: those that log to its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            own = process.uids().real == os.getuid() and process.pid != os.getpid()
            if own and any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                found.append(process)
        except (psutil.Error, OSError):  # it has ended meanwhile
            continue
    return found


def kill(folder: Path, driver: int) -> None:
    """Kills the processes of a session except its driver, also those that they start meanwhile."""
    for _ in range(ATTEMPTS):
        found = [process for process in processes(folder) if process.pid != driver]
        if not found:
            return
        for process in found:
            try:
                process.kill()
            except psutil.Error:
                continue
        time.sleep(0.05)


def main() -> None:
    """Ends a session after its driver."""
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # batch systems send them to all processes
    os.read(sys.stdin.fileno(), 1)  # returns when the driver has closed its end or is dead
    kill(folder, int(sys.argv[2]))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
