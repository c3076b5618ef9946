"""Records on disk -> tidy frames."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from results.errors import RecordError
from results.identity import contradiction
from results.labels import label, text

FORMAT = 1
SPLITS = ("seen", "held_out", "held_out_unlabelled", "held_out_adapted", "validation")
OWN_SETTINGS = "own_settings.json"  # which runs have settings that their method alone was given, and how many trials
MEASURES = ("mean", "worst", "bottom_decile", "std", "pooled", "clients")
IDENTITY = ("run_id", "method", "dataset", "partition", "seed", "status", "config")
_REMEDY = "delete the run's directory and run the sweep again"


def load(directory: str | Path, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """One row a run, ordered by cell, method and seed.

    Accuracies (`seen.mean`, `held_out.worst`, ..., `prior.seen.mean` with prior-corrected logits) are shares in [0, 1],
    NaN where a run failed or has no such clients; `upload_mb` and `download_mb` are 10^6 bytes of the whole run,
    `seconds` its wall-clock. `cell` names what was measured, `group` the same without `skew`, the partition; a method
    that was run with several of its own settings is named with them, and its `family` is empty where its record names
    none. `trials` is how many settings were tried before a method's own were chosen, NaN where none were. Of `run_ids`,
    those without a record yet are left out. Raises RecordError for a directory without runs and for a record that
    cannot be read.
    """
    return _load(directory, run_ids)[0]


def rounds(directory: str | Path, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """The rounds of every finished run, one row a round, with run_id, method, cell, alpha and seed."""
    return _concatenated(directory, run_ids, "rounds.parquet")


def clients(directory: str | Path, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """The clients of every finished run, one row a client, with run_id, method, cell, alpha and seed."""
    return _concatenated(directory, run_ids, "clients.parquet")


def configs(directory: str | Path, run_ids: Iterable[str]) -> list[dict[str, Any]]:
    """The configurations of these runs, in their order."""
    return [_read(Path(directory) / run_id / "result.json")["config"] for run_id in run_ids]


def swept(directory: str | Path, setting: str, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
    """`load` with the `value` of one setting as text, missing where a run has no such setting, `default` for none.

    Neither method nor cell is named with it, nor a method with its variant, so that runs that differ in nothing but
    this setting share both.
    """
    runs, _, records = _load(directory, run_ids, setting)
    values = [setting_of(record["config"], setting) for record in records]
    return runs.assign(value=pd.Series(values, index=runs.index, dtype=object))


def setting_of(config: dict[str, Any], setting: str) -> str | None:
    """A setting's value as text, of the protocol or of the method; None where there is no such setting."""
    for settings in (config, *(config.get("settings") or {}).values()):
        if setting in settings:
            return text(settings[setting]) or "default"
    return None


def tables(directory: str | Path, run_ids: Iterable[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """What methods left per true class, by name: the run's row of `load` with the square `values` [C, C] (nan: no test
    sample of that class)."""
    runs, _, records = _load(directory, run_ids)
    found: dict[str, list[dict[str, Any]]] = {}
    for run, record in zip(runs.to_dict("records"), records, strict=True):
        for name, values in (record.get("by_class") or {}).items():
            found.setdefault(name, []).append({**{str(key): value for key, value in run.items()}, "values": values})
    return found


def raw(
    directory: str | Path, run_ids: Iterable[str] | None = None
) -> tuple[pd.DataFrame, list[Path], list[dict[str, Any]]]:
    """`load`, and for each of its rows the run's folder and its whole record."""
    return _load(directory, run_ids)


def _load(
    directory: str | Path, run_ids: Iterable[str] | None, without: str | None = None
) -> tuple[pd.DataFrame, list[Path], list[dict[str, Any]]]:
    folders = _folders(Path(directory), run_ids)
    records = [_read(folder / "result.json") for folder in folders]
    marks = _own_settings(Path(directory))
    records = [record | {"own_settings": marks.get(record["run_id"], {})} for record in records]
    rows = [_row(record) | name._asdict() for record, name in zip(records, label(records, without), strict=True)]
    frame = pd.DataFrame(rows).astype({"alpha": float})
    frame = frame.sort_values(["dataset", "group", "partition", "alpha", "method", "seed", "run_id"])
    order = list(frame.index)
    return frame.reset_index(drop=True), [folders[row] for row in order], [records[row] for row in order]


def _folders(directory: Path, run_ids: Iterable[str] | None) -> list[Path]:
    if not directory.is_dir():
        raise RecordError(f"{directory} is not a directory: name the directory that a sweep wrote")
    found = [path.parent for path in sorted(directory.glob("*/result.json")) if path.parent.name[0] not in "._"]
    if not found:
        raise RecordError(f"{directory} holds no run: name the directory that a sweep wrote, or run the sweep first")
    wanted = None if run_ids is None else set(run_ids)
    chosen = [folder for folder in found if wanted is None or folder.name in wanted]
    if not chosen:
        raise RecordError(f"{directory} holds none of the runs asked for: run the sweep first")
    return chosen


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} is not valid JSON ({error}): {_REMEDY}") from error
    number = record.get("format") if isinstance(record, dict) else None
    if not isinstance(number, int):
        raise RecordError(f"{path} names no record format: {_REMEDY}")
    if number > FORMAT:
        raise RecordError(
            f"{path} has record format {number}; this version reads up to {FORMAT}: "
            "upgrade the harness or use another directory"
        )
    if missing := [key for key in IDENTITY if record.get(key) is None]:
        raise RecordError(f"{path} lacks {', '.join(missing)}: {_REMEDY}")
    if wrong := contradiction(record, path.parent.name):
        raise RecordError(f"{path} was changed: it {wrong}; {_REMEDY}")
    return dict(record)


def _own_settings(directory: Path) -> dict[str, Any]:
    """What a sweep noted of its runs' settings; empty where no method had any to itself."""
    path = directory / OWN_SETTINGS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except ValueError as error:
        raise RecordError(f"{path} is not valid JSON ({error}): delete it and run the sweep again") from error


def _row(record: dict[str, Any]) -> dict[str, Any]:
    row = {
        key: record.get(key) for key in ("run_id", "method", "dataset", "partition", "alpha", "seed", "status", "error")
    }
    for prefix, key in (("", "metrics"), ("prior.", "metrics_prior")):
        for split in SPLITS:
            measured = (record.get(key) or {}).get(split) or {}
            row |= {f"{prefix}{split}.{name}": _number(measured.get(name)) for name in MEASURES}
    bytes_, parameters = record.get("communication") or {}, record.get("parameters") or {}
    return row | {
        "family": record.get("family") or "",
        "backbone": (record.get("config") or {}).get("backbone") or "",
        "upload_mb": _number(bytes_.get("upload_bytes")) / 1e6,
        "download_mb": _number(bytes_.get("download_bytes")) / 1e6,
        "shared_parameters": _number(parameters.get("shared")),
        "local_parameters": _number(parameters.get("local")),
        "seconds": _number((record.get("seconds") or {}).get("total")),
        "images_per_second": _number(record.get("images_per_second")),
        "never_trained": _number(record.get("never_trained")),
        "trials": _number(record["own_settings"].get("trials")),
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _concatenated(directory: str | Path, run_ids: Iterable[str] | None, file: str) -> pd.DataFrame:
    runs, folders, _ = _load(directory, run_ids)
    parts = []
    for run, folder in zip(runs.to_dict("records"), folders, strict=True):
        if run["status"] == "done":
            names = {key: run[key] for key in ("run_id", "method", "cell", "alpha", "seed")}
            parts.append(_table(folder / file).assign(**names))
    if not parts:
        raise RecordError(f"{directory} holds no finished run: {len(runs)} unfinished or failed")
    return pd.concat(parts, ignore_index=True)


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read ({str(error).splitlines()[0]}): {_REMEDY}") from error
