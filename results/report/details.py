"""The runs behind the report's numbers: configuration, environment, command and log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fedprompt.results.report.charts import number
from fedprompt.results.report.command import command
from fedprompt.results.report.metrics import METRICS

MAX_LOG = 3_000  # characters kept of the end of one log
MAX_LOGS = 6_000_000  # characters of all logs together
Pool = dict[str, int]


def details(
    runs: pd.DataFrame, folders: list[Path], records: list[dict[str, Any]], metrics: Sequence[str] = tuple(METRICS)
) -> dict[str, Any]:
    """One entry per run in `runs`, and the `pool` of text lines, which entries refer to by index.

    Most runs share most of their options and environment, so each line is stored once.
    """
    pool: Pool = {}
    log_limit = min(MAX_LOG, MAX_LOGS // max(1, len(folders)))
    columns = list(dict.fromkeys(["run_id", "method", "setting", "seed", *metrics, "upload_mb", "seconds"]))
    entries = [
        _entry(run, record, pool, metrics) | {"log": _log(folder / "log.txt", log_limit)}
        for run, folder, record in zip(runs[columns].to_dict("records"), folders, records, strict=True)
    ]
    return {"runs": entries, "pool": list(pool)}


def _entry(run: dict[Any, Any], record: dict[str, Any], pool: Pool, metrics: Sequence[str]) -> dict[str, Any]:
    first, *options = command(record["config"]).split(" --")
    lines = {
        "config": _lines(record["config"]),
        "environment": _lines(record.get("environment") or {}),
        "deviations": record.get("deviations") or [],
        "command": [first, *(f" --{option}" for option in options)],
    }
    return {
        "id": run["run_id"],
        "method": run["method"],
        "setting": run["setting"],
        "seed": int(run["seed"]),
        "error": record.get("error"),
        "values": [number(100 * run[name], 2) for name in metrics],
        "upload_mb": number(run["upload_mb"], 3),
        "seconds": number(run["seconds"], 1),
        **{key: [pool.setdefault(line, len(pool)) for line in texts] for key, texts in lines.items()},
    }


def _lines(options: dict[str, Any], prefix: str = "") -> list[str]:
    """`a.b = value` for every leaf of nested options."""
    lines: list[str] = []
    for key, value in options.items():
        lines += _lines(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key} = {value}"]
    return lines


def _log(path: Path, limit: int) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:  # a record may have been copied without its log
        return ""
    return text if len(text) <= limit else f"... {text[len(text) - limit :]}"
