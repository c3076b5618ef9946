"""What names a run, and whether a record is what its place says; neither needs the code that made it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NOT_OF_THE_RESULT = {"checkpoint", "data_root", "device", "executor", "partition_file", "plugins"}
"""Settings of a run that say where and how it is computed, not what; its identity leaves them out."""
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
    for key in TOLD_TWICE:
        if key in config and config[key] != record.get(key):
            return f"says {key} {str(record.get(key))[:40]!r}, and its configuration {str(config[key])[:40]!r}"
    if "data_identity" in config and run_id(config, record.get("format", 0)) != folder:
        return "holds a configuration that is not the one its directory is named by"
    return None
