"""The current state of a directory of runs, for `bench status`."""

from collections import Counter
from pathlib import Path
from typing import Any

from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.runs.driver_status import active_drivers, run_locks
from fedprompt.benchmark.runs.store import Store

FAILURE_KEYS = ("run_id", "method", "dataset", "partition", "alpha", "seed", "error", "error_kind")


def directory_status(directory: Path) -> dict[str, Any]:
    """Returns the state of a directory of runs. A record that cannot be read does not hide the others.

    Returns:
        A dictionary with these keys:
            done, failed: Numbers of runs.
            running: The runs that a driver works on, with its last reported progress.
            abandoned: The runs whose driver has ended without finishing them.
            failures: Each failed run with its error, the error's kind and the path of its log.
            unreadable: Why each record that cannot be read is left out.
            other_commits: The ids of finished runs made by another commit than this code's, by commit.
    """
    unreadable: list[str] = []
    entries = Store(directory).entries(unreadable=lambda error: unreadable.append(str(error)))
    counts = Counter(entry.status for entry in entries)
    done = {entry.run_id for entry in entries if entry.status == "done"}
    running, abandoned = _unfinished(directory, done)
    other_commits: dict[str, list[str]] = {}
    current = environment.describe()["git_commit"]
    for entry in entries:
        commit = entry.result.get("environment", {}).get("git_commit", "")
        if entry.status == "done" and commit != current:
            other_commits.setdefault(commit, []).append(entry.run_id)
    return {
        "done": counts["done"],
        "failed": counts["failed"],
        "running": running,
        "abandoned": abandoned,
        "failures": [_failure(entry.result) for entry in entries if entry.status != "done"],
        "unreadable": unreadable,
        "other_commits": other_commits,
    }


def _unfinished(directory: Path, done: set[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns the locked runs that are not done: those of running drivers, and the abandoned ones."""
    drivers = active_drivers(directory).values()
    reported = {run["run_id"]: run for progress in drivers for run in progress["running"]}
    running, abandoned = [], []
    for lock in run_locks(directory):
        if lock.name in done:  # written, but not released yet
            continue
        row = {"run_id": lock.name, "name": str(lock.info.get("run", "")), "driver": lock.driver, "worker": ""}
        if lock.held:
            running.append(row | reported.get(lock.name, {}))
        else:
            abandoned.append(row)
    return running, abandoned


def _failure(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result.get(key) for key in FAILURE_KEYS} | {"log": f"{result['run_id']}/log.txt"}
