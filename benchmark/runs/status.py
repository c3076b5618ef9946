"""What a directory of runs holds at this moment."""

from collections import Counter
from pathlib import Path
from typing import Any

from fedprompt.benchmark.hardware import environment
from fedprompt.benchmark.runs.driver_status import FOLDER, under_way
from fedprompt.benchmark.runs.locks import RunLocks
from fedprompt.benchmark.runs.store import Store

SHOWN = ("run_id", "method", "dataset", "partition", "alpha", "seed", "error")


def of_directory(directory: Path) -> dict[str, Any]:
    """Counts of runs done and failed; those running and where, those whose driver is gone, the failures with their
    kind and log, and the finished runs of other commits than this code's, by commit."""
    entries = Store(directory).entries()
    counts = Counter(entry.status for entry in entries)
    ended = {entry.run_id for entry in entries if entry.status == "done"}
    running, abandoned = _claimed(directory, ended)
    others: dict[str, list[str]] = {}
    here = environment.describe()["git_commit"]
    for entry in entries:
        commit = entry.result.get("environment", {}).get("git_commit", "")
        if entry.status == "done" and commit != here:
            others.setdefault(commit, []).append(entry.run_id)
    return {
        "done": counts["done"],
        "failed": counts["failed"],
        "running": running,
        "abandoned": abandoned,
        "failures": [_failure(entry.result) for entry in entries if entry.status != "done"],
        "other_commits": others,
    }


def _claimed(directory: Path, ended: set[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs that a living driver has, with the rounds that it last told, and those whose driver is gone."""
    told = {run["run_id"]: run for driver in under_way(directory) for run in driver.content.get("running", [])}
    running, abandoned = [], []
    for claim in RunLocks(directory / FOLDER).all():
        if claim.run_id in ended:  # written, and not given back yet
            continue
        row: dict[str, Any] = {"run_id": claim.run_id, "name": claim.name, "driver": str(claim.owner), "worker": ""}
        if claim.lives:
            running.append(row | told.get(claim.run_id, {}))
        else:
            abandoned.append(row)
    return running, abandoned


def _failure(result: dict[str, Any]) -> dict[str, Any]:
    row = {key: result[key] for key in SHOWN}
    return row | {"error_kind": result.get("error_kind"), "log": f"{result['run_id']}/log.txt"}
