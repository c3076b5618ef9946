"""One record -> one row of numbers. What a record adds to those listed here gets columns of its own."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
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


class Columns:
    """Rows that become the columns of a frame: thousands of dictionaries with hundreds of names would fill the memory.

    `values` has one list per name. A row without a name that others have has NaN there.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[Any]] = {}
        self._length = 0

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        for name in self.values.keys() - row.keys():
            self.values[name].append(float("nan"))
        for name, value in row.items():
            if name not in self.values:
                self.values[name] = [float("nan")] * self._length
            self.values[name].append(value)
        self._length += 1


class Shared:
    """One object for all equal texts and environments of thousands of records, which would fill the memory."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._environments: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def texts(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, with shared texts."""
        share = self._texts.setdefault
        return {share(k, k): share(v, v) if type(v) is str else v for k, v in options.items()}

    def environment(self, environment: dict[str, str]) -> dict[str, str]:
        """The first of all equal environments."""
        return self._environments.setdefault(tuple(environment.items()), environment)


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
    return columns | {name: value for name, value in _others(record) if name not in columns}


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
                yield _joined(prefix, split, ".", name), _number(value)


def _others(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of a record that are neither names, options nor scores."""
    for key, value in record.items():
        if key in NOT_NUMBERS or key.startswith("metrics"):
            continue
        if isinstance(value, dict):
            renamed = RENAMED.get(key, ())
            for name, number in value.items():
                if _is_number(number) and name not in renamed:
                    yield _joined(key, "_", name), float(number)
        elif _is_number(value):
            yield key, float(value)


@lru_cache(maxsize=10_000)
def _joined(*parts: str) -> str:
    """The name of a column; thousands of rows share their names."""
    return "".join(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
