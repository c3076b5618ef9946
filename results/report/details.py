"""What stands behind a number: every run with its settings, environment, command and log."""

from pathlib import Path
from typing import Any

import pandas as pd

from fedprompt.results.report.command import command
from fedprompt.results.report.content import METRICS, number

LOG = 3_000  # characters kept of the end of a log
LOGS = 6_000_000  # characters of all logs
Pool = dict[str, int]


def details(runs: pd.DataFrame, folders: list[Path], records: list[dict[str, Any]]) -> dict[str, Any]:
    """`runs`, one entry a run, and the `pool` of texts that entries point into by number.

    Settings and environments are alike in most runs, so each line of them is kept once.
    """
    pool: Pool = {}
    room = min(LOG, LOGS // max(1, len(folders)))
    entries = [
        _entry(run, folder, record, pool, room)
        for run, folder, record in zip(runs.to_dict("records"), folders, records, strict=True)
    ]
    return {"runs": entries, "pool": list(pool)}


def _entry(run: dict[Any, Any], folder: Path, record: dict[str, Any], pool: Pool, room: int) -> dict[str, Any]:
    config = record["config"]
    return {
        "id": run["run_id"],
        "method": run["method"],
        "setting": run["setting"],
        "seed": int(run["seed"]),
        "error": record.get("error"),
        "values": [None if pd.isna(run[name]) else number(100 * run[name], 2) for name in METRICS],
        "upload_mb": number(run["upload_mb"], 3),
        "seconds": number(run["seconds"], 1),
        "config": [_pooled(line, pool) for line in _lines(config)],
        "environment": [_pooled(line, pool) for line in _lines(record.get("environment") or {})],
        "deviations": [_pooled(line, pool) for line in record.get("deviations") or []],
        "command": [_pooled(part, pool) for part in _parts(command(config))],
        "log": _log(folder / "log.txt", room),
    }


def _pooled(line: str, pool: Pool) -> int:
    return pool.setdefault(line, len(pool))


def _lines(settings: dict[str, Any], prefix: str = "") -> list[str]:
    """`a.b = value` for every leaf of nested settings."""
    lines: list[str] = []
    for key, value in settings.items():
        lines += _lines(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key} = {value}"]
    return lines


def _parts(line: str) -> list[str]:
    """A command cut before each of its options."""
    first, *options = line.split(" --")
    return [first, *(f" --{option}" for option in options)]


def _log(path: Path, room: int) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:  # a record that came without it is none the worse
        return ""
    return text if len(text) <= room else f"... {text[len(text) - room :]}"
