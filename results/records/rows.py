"""One record -> one row of numbers. What a record adds to those listed here gets columns of its own."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fedprompt.methods.uploads import BY_NAME, kinds

SPLITS = (
    *("seen", "trained", "held_out", "held_out_unlabelled", "held_out_adapted"),  # `adapted`: in records of version 0.2
    *("held_out_em", "held_out_bbse", "personalised", "held_out_personalised", "validation"),
)
MEASURES = ("mean", "worst", "bottom_decile", "std", "pooled", "clients", "too_few")
NO_SCORES = {
    f"{prefix}{split}.{name}": float("nan") for prefix in ("", "prior.") for split in SPLITS for name in MEASURES
}
NAMES = ("run_id", "method", "dataset", "partition", "alpha", "seed", "status", "error")
RENAMED = {
    "communication": ("upload_bytes", "download_bytes"),
    "parameters": ("shared", "local"),
    "seconds": ("total",),
}
"""Numbers with a column of another name or unit."""
NOT_NUMBERS = {
    *(*NAMES, "format", "config", "environment", "data", "own_settings", "trainable", "travelling", "uploads"),
    *("by_class", "when", "from", "model"),
}


def row(record: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a record in `load`: names, scores, costs, then all other numbers of the record.

    A number at the top is the column `NAME`, one of a mapping `NAME_KEY`. The columns of the listed splits and measures
    are always there.
    """
    traffic, parameters = record.get("communication") or {}, record.get("parameters") or {}
    columns: dict[str, Any] = {key: record.get(key) for key in NAMES} | {"alpha": _number(record.get("alpha"))}
    columns |= NO_SCORES | dict(_scores(record))
    columns |= {
        "family": record.get("family") or "",
        "backbone": (record.get("config") or {}).get("backbone") or "",
        "upload_mb": _number(traffic.get("upload_bytes")) / 1e6,
        "download_mb": _number(traffic.get("download_bytes")) / 1e6,
        "shared_parameters": _number(parameters.get("shared")),
        "local_parameters": _number(parameters.get("local")),
        "seconds": _number((record.get("seconds") or {}).get("total")),
        "images_per_second": _number(record.get("images_per_second")),
        "never_trained": _number(record.get("never_trained")),
        "trials": _number(record["own_settings"].get("trials")),
        "uploads": _uploads(record),
    }
    columns |= {name: value for name, value in _others(record) if name not in columns}
    return {sys.intern(name): value for name, value in columns.items()}  # thousands of rows share their names


def _uploads(record: Mapping[str, Any]) -> str:
    """The kinds of what a client uploads; empty for a failed run. Older records hold shapes only."""
    if (found := record.get("uploads")) is None and "travelling" in record:
        shapes = record["travelling"]["upload"]
        by_class = [name for name, shape in shapes.items() if len(shape) == 2 and name.rpartition(".")[2] in BY_NAME]
        found = kinds(shapes, record["trainable"]["shared"], by_class)
    return "" if found is None else ", ".join(found) or "nothing"


def _scores(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """`seen.mean` of `metrics`, `prior.seen.mean` of `metrics_prior`, and so on for every `metrics_NAME`."""
    for key in sorted(key for key in record if key == "metrics" or key.startswith("metrics_")):
        prefix = f"{key.removeprefix('metrics_')}." if key != "metrics" else ""
        for split, measured in (record[key] or {}).items():
            for name, value in (measured or {}).items():
                yield f"{prefix}{split}.{name}", _number(value)


def _others(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record that are neither names, options nor scores."""
    for key, value in record.items():
        if key in NOT_NUMBERS or key.startswith("metrics"):
            continue
        if _is_number(value):
            yield key, float(value)
        elif isinstance(value, dict):
            inner = ((name, number) for name, number in value.items() if name not in RENAMED.get(key, ()))
            yield from ((f"{key}_{name}", float(number)) for name, number in inner if _is_number(number))


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
