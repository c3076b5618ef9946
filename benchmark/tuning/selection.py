"""Chooses each method's settings by its clients' validation samples, and writes the choice as a preset."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import yaml

from fedprompt.benchmark.config.method_overrides import MethodOverrides, recipe
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.presets import TRIALS
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.methods import registry
from fedprompt.methods.registry import Recipe

HEAD = "# Written by `bench tune`; `bench sweep --preset {name}` uses it, and options on the line win.\n"
NOT_CARRIED = {"per_method", "seeds", "validation"}  # a sweep trains on the validation samples too, with its own seeds
RULE = (
    "one setting a method: that of the highest mean, over all settings and seeds, of the seen clients' mean accuracy on "
    "validation samples, averaged over the last evaluations of a run; of equal ones the first; none with a failed run"
)


@dataclass(frozen=True)
class Trial:
    """A setting of a method and what came of it: `score` is its mean validation accuracy, None where a run failed."""

    own: MethodOverrides
    runs: tuple[str, ...]
    failed: int
    score: float | None


def recipes(settings: Sequence[RunConfig]) -> list[Recipe]:
    """The methods of a grid, in order."""
    return [registry.create(name, settings) for name, settings in {c.method: c.settings for c in settings}.items()]


def grid(
    settings: Sequence[RunConfig], tried: Mapping[str, Sequence[MethodOverrides]]
) -> dict[str, list[list[RunConfig]]]:
    """The runs of every method's every trial: all its runs of a grid with the settings of the trial."""
    found: dict[str, list[list[RunConfig]]] = {}
    for method, trials in tried.items():
        mine = [config for config in settings if config.method == method]
        for own in trials:
            update = {**own.training, "settings": recipe(method, mine[0].settings, own).settings}
            found.setdefault(method, []).append([config.model_copy(update=update) for config in mine])
    return found


def judge(store: Store, own: MethodOverrides, runs: Sequence[RunConfig], last: int) -> Trial:
    """A trial whose runs have ended; its score is the mean over them of their last evaluations. Reads no test score."""
    entries = [store.entry(config.run_id) for config in runs]
    failed = sum(entry is None or entry.status != "done" for entry in entries)
    ids = tuple(config.run_id for config in runs)
    score = None if failed else fmean(_validation(store.directory / run_id, last) for run_id in ids)
    return Trial(own, ids, failed, score)


def best(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the highest score, of equal ones the first; None where every trial has a failed run."""
    whole = [trial for trial in trials if trial.score is not None]
    return max(whole, key=lambda trial: trial.score or 0.0) if whole else None


def preset(chosen: Options, judged: Mapping[str, Sequence[Trial]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the preset: the grid's options, each method's choice, and every trial behind it."""
    given = {name: getattr(chosen, name) for name in Options.model_fields if name in chosen.model_fields_set}
    carried = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    winners = {method: best(trials) for method, trials in judged.items()}
    return {
        **{name.replace("_", "-"): value for name, value in carried.items() if name not in NOT_CARRIED | {"methods"}},
        "methods": list(judged),
        "per-method": {
            method: {**winner.own.words, "trials": len(judged[method])} for method, winner in winners.items() if winner
        },
        TRIALS: {
            "rule": RULE,
            **facts,
            "trials": {method: [_row(trial) for trial in trials] for method, trials in judged.items()},
        },
    }


def check_place(path: Path) -> None:
    """Raises `ConfigError` where the preset cannot go: it replaces nothing but a former one."""
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--to {path}: a preset's name ends in .yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {TRIALS: None}
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict) or TRIALS not in content:
        raise ConfigError(f"--to {path} is there and is no preset of `bench tune`: name another file.")


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Puts the preset in its place, whole or not at all. Raises `ConfigError` where it cannot be written."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    text = yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(HEAD.format(name=path.name) + text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise ConfigError(f"--to {path} cannot be written: {(error.strerror or str(error)).lower()}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _row(trial: Trial) -> dict[str, Any]:
    score = None if trial.score is None else round(trial.score, 6)
    return {"settings": trial.own.words, "validation": score, "failed": trial.failed, "runs": list(trial.runs)}


def _validation(folder: Path, last: int) -> float:
    rounds = pd.read_parquet(folder / "rounds.parquet")
    known = rounds["validation_mean"].dropna() if "validation_mean" in rounds else pd.Series(dtype=float)
    if known.empty:
        raise ConfigError(f"{folder}: no client has validation samples: raise --validation, or take larger clients.")
    return float(known.tail(last).mean())
