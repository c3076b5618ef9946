"""The identity of a run, and whether a record agrees with itself and its folder. Needs no code of the simulation."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from itertools import chain
from types import NoneType
from typing import Any

NOT_HASHED = {"checkpoint", "data_root", "device", "executor", "from_model", "partition_file", "plugins"}
"""Options that say where and how a run is computed; they do not change its result, so the run id ignores them."""
LATER_OPTIONS = {
    "samples_per_client": None,
    "optimizer": "sgd",
    **dict.fromkeys(("beta1", "beta2", "eps")),
    "standardize": "none",
    "head_init": "random",
    "eval_at": None,
    "lr_schedule": "constant",
    "personal_lr_factor": 1.0,
    **dict.fromkeys(("from_run", "from_hash", "from_model")),
}
"""Options that were added later, with the values that earlier runs have without naming them; with such a value a run
keeps the id that it had before."""
LATER_FIELDS = {"pep-fedpt": ("depth_share", "class_lr")}
"""Fields of methods that were added later; with None the method computes as before, and a run keeps its id."""
TYPES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("method", "dataset", "partition", "status"), (str, "text")),
    "seed": (int, "a whole number"),
    **dict.fromkeys(
        ("environment", "data", "when", "executor", "federation", "from", "model"), (dict, "a mapping")
    ),  # may be missing
}
NUMBERS: dict[str, tuple[type, ...]] = {
    "metrics": (dict, dict),
    **dict.fromkeys(("images", "passes", "unscored", "unestimated", "convergence", "preparation"), (dict,)),
    "communication": (dict,),
    "parameters": (dict,),
    "seconds": (dict,),
    "by_class": (dict, list, list),
    **dict.fromkeys(
        ("alpha", "images_per_second", "never_trained", "gpu_peak_bytes", "temperature", "calibration_bytes"), ()
    ),
}
"""Numeric parts of a record, each with the types of its nested containers, outermost first."""
_NUMBERS = frozenset({float, int, bool, NoneType})


def run_id(config: Mapping[str, Any], record_format: int) -> str:
    """The name of a run: a hash of every option that its result depends on."""
    absent = {k for k, earlier in LATER_OPTIONS.items() if config.get(k, earlier) == earlier}
    content = {k: v for k, v in config.items() if k not in NOT_HASHED | absent} | {"record_format": record_format}
    if isinstance(settings := config.get("settings"), dict):
        content["settings"] = {owner: _without_later(owner, fields) for owner, fields in settings.items()}
    content["dataset"] = str(content["dataset"]).partition(":")[0]  # without a path: `data_identity` hashes the content
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _without_later(owner: str, fields: Any) -> Any:
    """The fields of a method without those that were added later and are None."""
    if owner not in LATER_FIELDS or not isinstance(fields, dict):
        return fields
    return {name: value for name, value in fields.items() if value is not None or name not in LATER_FIELDS[owner]}


def contradiction(record: Mapping[str, Any], folder: str) -> str | None:
    """How a record contradicts itself or the name of its folder, as part of a sentence; None if it does not."""
    if record.get("run_id") != folder:
        return f"has run id {str(record.get('run_id'))[:40]!r}, but its directory is {folder!r}"
    config = record.get("config")
    if not isinstance(config, dict):
        return "contains no configuration"
    if fault := _wrong_type(record) or _wrong_option(config):
        return fault
    for key in ("method", "dataset", "alpha", "seed"):  # in the record and in its configuration
        if key in config and config[key] != record.get(key):
            return f"has {key} {str(record.get(key))[:40]!r}, but its configuration has {str(config[key])[:40]!r}"
    if "data_identity" in config and "dataset" not in config:
        return "contains a configuration without a data set"
    if "data_identity" in config and run_id(config, record.get("format", 0)) != folder:
        return "contains a configuration with another run id"
    return None


def _wrong_option(config: Mapping[str, Any]) -> str | None:
    """The first option that commands are made of and that has an unexpected type, as part of a sentence."""
    settings, plugins = config.get("settings") or {}, config.get("plugins") or []
    if not (isinstance(settings, dict) and all(isinstance(fields, dict) for fields in settings.values())):
        return "contains something other than options of methods in settings"
    if not (isinstance(plugins, list | tuple) and all(isinstance(plugin, str) for plugin in plugins)):
        return "contains something other than a list of texts in plugins"
    for name in sorted(NOT_HASHED - {"plugins"}):
        if not isinstance(config.get(name), str | None):
            return f"contains something other than text in {name}"
    return None


def _wrong_type(record: Mapping[str, Any]) -> str | None:
    """The first part of a record that has an unexpected type, as part of a sentence; None if there is none."""
    for key, (kind, name) in TYPES.items():
        if not isinstance(record.get(key, {}), kind):
            return f"contains something other than {name} in {key}"
    if not all(isinstance(value, str) for value in record.get("environment", {}).values()):
        return "contains something other than text in environment"
    federation = {k: v for k, v in record.get("federation", {}).items() if k not in ("hash", "unused")}
    if not _is_numeric(federation, (dict,)):
        return "contains something other than numbers in federation"
    variants = {key: (dict, dict) for key in record if key.startswith("metrics_")}  # scores of corrected logits
    for key, containers in (NUMBERS | variants).items():
        if not _is_numeric(record.get(key), containers):
            return f"contains something other than numbers in {key}"
    return None


def _is_numeric(value: Any, containers: tuple[type, ...]) -> bool:
    """Whether `containers`, nested in this order, contain only numbers and None."""
    found = [value]
    for kind in containers:
        if not {kind, NoneType}.issuperset(map(type, found)):
            return False
        present: Iterable[Any] = filter(None, found)
        found = list(chain.from_iterable(map(dict.values, present) if kind is dict else present))
    if not _NUMBERS.issuperset(map(type, found)) or math.inf in found or -math.inf in found:
        return False
    return all(abs(number) < 2**63 for number in found if type(number) is int)
