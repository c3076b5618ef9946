"""Published exports as directories of runs, for what reads directories."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from fedprompt.results.records.exported import options
from fedprompt.results.records.files import RUN_COLUMNS
from fedprompt.results.records.rows import MEASURES, NAMES

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
LABELS = ("group", "skew", "setting", "family", "backbone", "trials", "uploads")  # derived from other columns
COSTS = ("upload_mb", "download_mb", "shared_parameters", "local_parameters", "seconds")


def write_runs(export: Path, directory: Path) -> None:
    """Write each row of an export's `runs` as a record, with its rounds and clients."""
    tables = {name: pd.read_parquet(export / f"{name}.parquet") for name in ("runs", "rounds", "clients")}
    parts = {
        name: dict(list(tables[name].drop(columns=RUN_COLUMNS[1:]).groupby("run_id"))) for name in ("rounds", "clients")
    }
    for row in tables["runs"].to_dict("records"):
        folder = directory / row["run_id"]
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(_record(row)))
        for name, rows in parts.items():
            own = rows[row["run_id"]].drop(columns="run_id").dropna(axis="columns", how="all")
            own.to_parquet(folder / f"{name}.parquet")


def _record(row: dict[Any, Any]) -> dict[str, Any]:
    values = {str(name): None if _is_missing(value) else value for name, value in row.items()}
    record: dict[str, Any] = {"format": 1, "config": options(row), "family": values["family"], "environment": {}}
    record |= {name: values[name] for name in NAMES}
    for name, value in values.items():
        groups = name.split(".")
        if groups[-1] in MEASURES and groups[0] != "config":
            metrics = "_".join(["metrics", *groups[:-2]])
            record.setdefault(metrics, {}).setdefault(groups[-2], {})[groups[-1]] = value
        elif name not in (*record, *LABELS, *COSTS) and groups[0] != "config" and value is not None:
            record[name] = value
    record["seed"], record["communication"] = (
        int(row["seed"]),
        {
            f"{way}_bytes": None if values[f"{way}_mb"] is None else values[f"{way}_mb"] * 1e6
            for way in ("upload", "download")
        },
    )
    record["parameters"] = {name: values[f"{name}_parameters"] for name in ("shared", "local")}
    record["seconds"] = {"total": values["seconds"]}
    if uploads := values.get("uploads"):
        record["uploads"] = {} if uploads == "nothing" else {kind: [] for kind in uploads.split(", ")}
    return record


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)
