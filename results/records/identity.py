"""What names a run, and whether a record is what its place says; neither needs the code that made it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NOT_OF_THE_RESULT = {"checkpoint", "data_root", "device", "executor", "partition_file", "plugins"}
"""Settings of a run that say where and how it is computed, not what; its identity leaves them out."""
TEXTS = ("method", "dataset", "partition", "status")
MAPPINGS = ("environment", "when", "executor", "federation")
NUMBERS: dict[str, tuple[type, ...]] = {
    "metrics": (dict, dict),
    "metrics_prior": (dict, dict),
    "communication": (dict,),
    "parameters": (dict,),
    "seconds": (dict,),
    "by_class": (dict, list, list),
    **dict.fromkeys(("alpha", "images_per_second", "never_trained", "gpu_peak_bytes"), ()),
}
"""Where a record holds numbers, and what they lie in."""
TOLD_TWICE = ("method", "dataset", "alpha", "seed")


def run_id(config: Mapping[str, Any], record_format: int) -> str:
    """The content hash that names a run: of everything in its configuration that its result depends on."""
    content = {k: v for k, v in config.items() if k not in NOT_OF_THE_RESULT} | {"record_format": record_format}
    content["dataset"] = str(content["dataset"]).partition(":")[0]  # a path; the identity says what lies there
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def contradiction(record: Mapping[str, Any], folder: str) -> str | None:
    """How a record contradicts itself or the name of its directory, as part of a sentence; None where it does not."""
    if record.get("run_id") != folder:
        return f"says it is run {str(record.get('run_id'))[:40]!r}, and lies in the directory of {folder!r}"
    config = record.get("config")
    if not isinstance(config, dict):
        return "holds no configuration"
    if wrong := _misplaced(record):
        return wrong
    for key in TOLD_TWICE:
        if key in config and config[key] != record.get(key):
            return f"says {key} {str(record.get(key))[:40]!r}, and its configuration {str(config[key])[:40]!r}"
    if "data_identity" in config and "dataset" not in config:
        return "holds a configuration without a data set"
    if "data_identity" in config and run_id(config, record.get("format", 0)) != folder:
        return "holds a configuration that is not the one its directory is named by"
    return None


def _misplaced(record: Mapping[str, Any]) -> str | None:
    """What a record holds of another kind than the program writes, as part of a sentence."""
    for key in TEXTS:
        if not isinstance(record.get(key), str):
            return f"holds no text as its {key}"
    if not isinstance(record.get("seed"), int):
        return "holds no whole number as its seed"
    for key in MAPPINGS:
        if not isinstance(record.get(key, {}), dict):
            return f"holds no facts in {key}"
    if not all(isinstance(value, str) for value in record.get("environment", {}).values()):
        return "holds something else than texts in environment"
    for key, kinds in NUMBERS.items():
        if not _numbers(record.get(key), kinds):
            return f"holds something else than numbers in {key}"
    return None


def _numbers(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether mappings or lists of these kinds, in each other, hold numbers and gaps only."""
    if value is None:
        return True
    if not kinds:
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)
    if not isinstance(value, dict | list) or not isinstance(value, kinds[0]):
        return False
    inside = list(value.values()) if isinstance(value, dict) else list(value)
    return all(_numbers(inner, kinds[1:]) for inner in inside)
