"""The protocol of the runs: the options and versions that their numbers depend on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedprompt.results.records.identity import LATER_OPTIONS
from fedprompt.results.records.labels import as_text, short_names

OPTIONS = {  # by option, its name in the report
    "backbone": "backbone",
    "dataset": "data",
    "partition": "partition",
    "clients": "clients",
    "participation": "participation",
    "rounds": "rounds",
    "epochs": "local epochs",
    "optimizer": "optimizer",
    "lr": "learning rate",
    "lr_schedule": "rates over the rounds",
    "standardize": "standardisation",
    "precision": "precision",
    "seed": "seeds",
}
VERSIONS = {"torch": "torch", "timm": "timm", "git_commit": "commit of this package"}
SHOWN = 8  # values of one option


def protocol(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Name and value of each option and version; where runs differ, all values."""
    names = short_names(str(record["dataset"]) for record in records)
    lines = []
    for option, name in OPTIONS.items():
        values = [_option(record, option) for record in records]
        texts = _numbers(values) if option == "seed" else [as_text(value) for value in values]
        lines.append((name, _listed(names.get(text, text) if option == "dataset" else text for text in texts)))
    for package, name in VERSIONS.items():
        lines.append((name, _listed((record.get("environment") or {}).get(package, "") for record in records)))
    return [(name, text) for name, text in lines if text]


def _option(record: Mapping[str, Any], option: str) -> Any:
    config = record["config"]
    return config.get(option, record.get(option, LATER_OPTIONS.get(option)))


def _numbers(values: Iterable[Any]) -> list[str]:
    """The whole numbers in order, successive ones as a range."""
    ordered = sorted(set(values))
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return [f"{ordered[0]} to {ordered[-1]}"]
    return [str(value) for value in ordered]


def _listed(texts: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(text for text in texts if text))
    more = f" and {len(distinct) - SHOWN} more" * (len(distinct) > SHOWN)
    return ", ".join(distinct[:SHOWN]) + more
