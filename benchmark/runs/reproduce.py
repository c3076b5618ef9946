"""One run of a directory, run again from its record alone and compared with it."""

import math
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedprompt.benchmark.backbone.weights import identity
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.merge import MEASURED
from fedprompt.benchmark.runs.store import Entry, Store
from fedprompt.data import registry as datasets
from fedprompt.methods import registry as methods
from fedprompt.results.report.command import command

RUN_ID = re.compile(r"[0-9a-f]{16}")
SHOWN = 12  # differences in full


@dataclass(frozen=True)
class Comparison:
    """How a run repeated: lines on what was measured differently, and on what it was measured by."""

    command: str
    numbers: list[str]
    environment: list[str]


def entry_of(place: Path) -> Entry:
    """The finished run at DIR/RUN_ID. Raises `ConfigError` where there is none."""
    if not RUN_ID.fullmatch(place.name):
        raise ConfigError(f"{place.name} is no run: a run's name has 16 digits of 0-9a-f, as `bench status` shows.")
    entry = Store(place.parent).entry(place.name)
    if entry is None:
        raise ConfigError(f"{place.parent} holds no run {place.name}; name it as DIR/RUN_ID.")
    if entry.status != "done":
        raise ConfigError(f"run {place.name} failed: there is nothing to compare with; run it again in its sweep.")
    return entry


def config_of(entry: Entry, plugins: Sequence[str], data_root: str | None = None) -> RunConfig:
    """The configuration of a record, checked against the code and data that are here.

    A plug-in is code: the record names those that it came with, and only those that the user names are loaded.
    """
    try:
        config = RunConfig(**entry.result["config"])
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(f"the configuration of run {entry.run_id} is not this version's: {place}.") from error
    named = [Path(file).name for file in config.plugins]
    if named and not plugins:
        raise ConfigError(
            f"run {entry.run_id} came with plug-ins ({', '.join(named)}), which are code: "
            "name them with --plugin FILE where you trust them."
        )
    for file in plugins:
        methods.load_plugin(file)
    where: dict[str, Any] = {"plugins": tuple(str(Path(file).resolve()) for file in plugins)}
    config = config.model_copy(update=where | ({"data_root": data_root} if data_root is not None else {}))
    if "\0" in "".join(str(value) for value in config.model_dump().values()):
        raise ConfigError(f"the configuration of run {entry.run_id} holds what no path may.")
    _check_present(config)
    return config


def _check_present(config: RunConfig) -> None:
    """Raises `ConfigError` where method, data or weights here are others than the run's."""
    recipe = methods.create(config.method, config.settings)
    root = None if config.data_root is None else Path(config.data_root)
    facts = {
        "method version": (config.versions, recipe.versions),
        "data set": (config.data_identity, datasets.identity(config.dataset, root, config.skip_corrupt)),
        "weights": (config.backbone_identity, identity(config.backbone, config.checkpoint)),
    }
    for name, (then, now) in facts.items():
        if then != now:
            raise ConfigError(f"the {name} of run {config.run_id} was {then}, and here it is {now}.")


def reproduce(entry: Entry, place: Path, config: RunConfig, progress: Callable[[int, int], None]) -> Comparison:
    """Runs a configuration again, beside and not in the directory it is from, and compares."""
    from fedprompt.benchmark.hardware.devices import processors
    from fedprompt.benchmark.runs.execute import execute

    with tempfile.TemporaryDirectory(prefix="bench-reproduce-") as folder:
        again = Store(folder)
        record = execute(config, processors(), progress)
        fresh = again.write(record)
        numbers = _differences({k: entry.result.get(k) for k in MEASURED}, {k: record.result.get(k) for k in MEASURED})
        for name in ("rounds.parquet", "clients.parquet"):
            numbers += _differences(_rows(place / name), _rows(fresh / name), name.partition(".")[0])
    then, now = _surroundings(entry.result), _surroundings(record.result)
    return Comparison(command(config.model_dump(mode="json")), numbers, _differences(then, now))


def _surroundings(result: dict[str, Any]) -> dict[str, Any]:
    resumed = [again.get("begun_on") for again in (result.get("when") or {}).get("resumed") or ()]
    executor = (result.get("executor") or {}).get("used")
    return {**result.get("environment", {}), "executor": executor, "resumed_from": resumed}


def _rows(path: Path) -> list[dict[str, Any]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    plain = [
        {str(k): v.tolist() if hasattr(v, "tolist") else v for k, v in row.items()} for row in frame.to_dict("records")
    ]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in plain]


def _differences(then: Any, now: Any, place: str = "") -> list[str]:
    """Every place at which two values differ, as `place: then -> now`; nan equals nan."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = list(dict.fromkeys([*then, *now]))
        return [d for k in keys for d in _differences(then.get(k), now.get(k), f"{place}.{k}".lstrip("."))]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return [d for i, (a, b) in enumerate(zip(then, now, strict=True)) for d in _differences(a, b, f"{place}[{i}]")]
    both_nan = isinstance(then, float) and isinstance(now, float) and math.isnan(then) and math.isnan(now)
    return [] if both_nan or then == now else [f"{place}: {then} -> {now}"]
