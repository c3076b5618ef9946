"""Repeats a run from its record and compares the results."""

import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fedprompt.benchmark.backbone.weights import identity
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.merge import MEASURED
from fedprompt.benchmark.runs.store import Entry, Store
from fedprompt.data import loading as datasets
from fedprompt.methods import registry as methods
from fedprompt.results.report.command import command

if TYPE_CHECKING:  # torch is imported where runs are computed
    from fedprompt.benchmark.runs.execute import Progress

RUN_ID = re.compile(r"[0-9a-f]{16}")
SHOWN = 12  # differences that are printed
TOLERANCE = 0.03
"""The largest difference of a mean accuracy that rounding on another processor or in another version may cause.

Measured on 24 runs of `head`, `lda`, `fed3r` and `posterior` on the embedded default: computed in fp32 instead of bf16,
which rounds far more coarsely than two processors differ, no mean changed by more than 0.014, one test image of the
held-out clients.
"""


@dataclass(frozen=True)
class Comparison:
    """The command that repeats a run, and the differences to its record in the numbers and in the environment.

    Attributes:
        accuracy: The largest difference of a mean accuracy, as a share.
    """

    command: str
    numbers: list[str]
    environment: list[str]
    accuracy: float = 0.0

    @property
    def outcome(self) -> str:
        """The result in a few words."""
        if not self.numbers:
            return "identical numbers, bit for bit"
        within = "within" if self.accuracy <= TOLERANCE else "more than"
        points = f"mean accuracies by at most {100 * self.accuracy:.2f} points, {within} the {100 * TOLERANCE:g} "
        return f"{len(self.numbers)} numbers differ, {points}that another processor or version may cause"


def entry_of(place: Path) -> Entry:
    """Returns the finished run at DIR/RUN_ID. Raises `ConfigError` if there is none."""
    if not RUN_ID.fullmatch(place.name):
        raise ConfigError(f"{place.name} is not a run id: run ids have 16 hexadecimal digits, see `bench status`.")
    entry = Store(place.parent).entry(place.name)
    if entry is None:
        raise ConfigError(f"{place.parent} has no run {place.name}; name it as DIR/RUN_ID.")
    if entry.status != "done":
        raise ConfigError(f"run {place.name} failed: there are no results to compare with; run its sweep again.")
    return entry


def config_of(entry: Entry, plugins: Sequence[str], data_root: str | None = None) -> RunConfig:
    """Returns the configuration of a record, checked against this installation's code and data.

    Args:
        entry: The run.
        plugins: Plug-in files to load. A plug-in is code, so the files named in the record are never executed.
        data_root: The folder of the data sets, if it has moved.

    Raises:
        ConfigError: The configuration is invalid, a plug-in is missing, or method, data or weights differ.
    """
    try:
        config = RunConfig(**entry.result["config"])
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(f"the configuration of run {entry.run_id} is invalid in this version: {field}.") from error
    names = [Path(file).name for file in config.plugins]
    if names and not plugins:
        raise ConfigError(
            f"run {entry.run_id} needs plug-ins ({', '.join(names)}), which are code: "
            "name them with --plugin FILE if you trust them."
        )
    for file in plugins:
        methods.load_plugin(file)
    paths: dict[str, Any] = {"plugins": tuple(str(Path(file).resolve()) for file in plugins)}
    config = config.model_copy(update=paths | ({"data_root": data_root} if data_root is not None else {}))
    if "\0" in "".join(str(value) for value in config.model_dump().values()):
        raise ConfigError(f"the configuration of run {entry.run_id} contains a null byte.")
    _check_present(config)
    return config


def _check_present(config: RunConfig) -> None:
    """Raises `ConfigError` if the method, data or weights of this installation differ from the run's."""
    recipe = methods.create(config.method, config.settings)
    root = None if config.data_root is None else Path(config.data_root)
    facts = {
        "method version": (config.versions, recipe.versions),
        "data set": (config.data_identity, datasets.identity(config.dataset, root, config.skip_corrupt)),
        "weights": (config.backbone_identity, identity(config.backbone, config.checkpoint)),
    }
    for name, (then, now) in facts.items():
        if then != now:
            raise ConfigError(f"the {name} of run {config.run_id} was {then}; here it is {now}.")


def reproduce(entry: Entry, place: Path, config: RunConfig, progress: "Progress") -> Comparison:
    """Runs a configuration again, in a temporary directory, and compares the results with the record at `place`."""
    from fedprompt.benchmark.hardware.devices import processors
    from fedprompt.benchmark.runs.execute import execute

    with tempfile.TemporaryDirectory(prefix="bench-reproduce-") as folder:
        record = execute(config, processors(), progress)
        repeated = Store(folder).write(record)
        numbers = differences({k: entry.result.get(k) for k in MEASURED}, {k: record.result.get(k) for k in MEASURED})
        for name in ("rounds.parquet", "clients.parquet"):
            numbers += differences(_rows(place / name), _rows(repeated / name), name.partition(".")[0])
    environment = differences(_environment(entry.result), _environment(record.result))
    change = largest_change(_means(entry.result), _means(record.result))
    return Comparison(command(config.model_dump(mode="json")), numbers, environment, change)


def compare_environments(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences of software and hardware that both state."""
    return differences(then, {name: now.get(name) for name in then})


def largest_change(then: dict[str, Any], now: dict[str, Any]) -> float:
    """The largest absolute difference of accuracies that both have, by name; infinite if only one has a value."""
    pairs = [(value, now.get(name)) for name, value in then.items()]
    valued = [(a, b) for a, b in pairs if not (_is_missing(a) and _is_missing(b))]
    return max((math.inf if _is_missing(a) or _is_missing(b) else abs(a - b) for a, b in valued), default=0.0)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _means(result: dict[str, Any]) -> dict[str, Any]:
    """The mean and pooled accuracies of a record by name."""
    return {
        f"{key}.{group}.{name}": scores.get(name)
        for key in ("metrics", "metrics_prior")
        for group, scores in (result.get(key) or {}).items()
        for name in ("mean", "pooled")
        if scores
    }


def _environment(result: dict[str, Any]) -> dict[str, Any]:
    resumed = [attempt.get("begun_on") for attempt in (result.get("when") or {}).get("resumed") or ()]
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


def differences(then: Any, now: Any, place: str = "") -> list[str]:
    """Returns every difference between two JSON values, as `place: then -> now`. Two nan are equal."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = list(dict.fromkeys([*then, *now]))
        return [d for k in keys for d in differences(then.get(k), now.get(k), f"{place}.{k}".lstrip("."))]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        return [d for i, (a, b) in enumerate(zip(then, now, strict=True)) for d in differences(a, b, f"{place}[{i}]")]
    both_nan = isinstance(then, float) and isinstance(now, float) and math.isnan(then) and math.isnan(now)
    return [] if both_nan or then == now else [f"{place}: {then} -> {now}"]
