"""Selects hyperparameters per method by accuracy on the clients' validation samples; writes them as a preset."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from fedprompt.benchmark.config.local_optimizer import local_training
from fedprompt.benchmark.config.method_overrides import MethodOverrides, recipe
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.preset_files import TRIALS
from fedprompt.benchmark.config.run_config import LocalTrainingOptions, RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.data.errors import reason
from fedprompt.data.files.atomic import atomic_write
from fedprompt.methods import registry
from fedprompt.methods.registry import Recipe
from fedprompt.results.io import read_yaml
from fedprompt.results.records.files import read_parquet

HEAD = "# Written by `bench tune`. Use it with `bench sweep --preset {name}`; command-line options take precedence.\n"
NOT_CARRIED = {"per_method", "seeds", "validation"}  # a sweep trains on the validation samples too, with its own seeds
RULE = (
    "per method, the hyperparameters with the highest mean, over all settings and seeds, of the seen clients' mean "
    "accuracy on validation samples, averaged over the last evaluations of a run; the first of equal ones; none with a "
    "failed run"
)


@dataclass(frozen=True)
class Trial:
    """Hyperparameters of a method and their result: `score` is the mean validation accuracy, None if a run failed."""

    overrides: MethodOverrides
    runs: tuple[str, ...]
    failed: int
    score: float | None


def recipes(grid: Sequence[RunConfig]) -> list[Recipe]:
    """Returns the methods of a grid, in order."""
    return [registry.create(name, fields) for name, fields in {c.method: c.settings for c in grid}.items()]


def trial_runs(
    grid: Sequence[RunConfig], trials: Mapping[str, Sequence[MethodOverrides]]
) -> dict[str, list[list[RunConfig]]]:
    """Returns the runs of each method's trials: all runs of the method in the grid, with the trial's overrides."""
    runs: dict[str, list[list[RunConfig]]] = {}
    for method, overrides in trials.items():
        configs = [config for config in grid if config.method == method]
        for one in overrides:
            made = recipe(method, configs[0].settings, one)
            shared = {name: getattr(configs[0], name) for name in LocalTrainingOptions.model_fields}
            update = {**local_training(made, shared, one.training), "settings": made.settings}
            runs.setdefault(method, []).append([config.model_copy(update=update) for config in configs])
    return runs


def evaluate_trial(store: Store, overrides: MethodOverrides, runs: Sequence[RunConfig], last: int) -> Trial:
    """Returns a finished trial, scored by the mean of its runs' `last` evaluations. Test scores are not read.

    Raises:
        ConfigError: no client has validation samples.
    """
    entries = [store.entry(config.run_id) for config in runs]
    failed = sum(entry is None or entry.status != "done" for entry in entries)
    ids = tuple(config.run_id for config in runs)
    score = None if failed else fmean(_validation(store.directory / run_id, last) for run_id in ids)
    return Trial(overrides, ids, failed, score)


def best(trials: Sequence[Trial]) -> Trial | None:
    """Returns the trial with the highest score (the first of equal ones), or None if every trial has a failed run."""
    complete = [trial for trial in trials if trial.score is not None]
    return max(complete, key=lambda trial: trial.score or 0.0) if complete else None


def preset(chosen: Options, trials: Mapping[str, Sequence[Trial]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of the preset: the options of the grid, the best trial per method, and all trials."""
    given = {name: getattr(chosen, name) for name in Options.model_fields if name in chosen.model_fields_set}
    carried = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    winners = {method: winner for method, tried in trials.items() if (winner := best(tried))}
    return {
        **{name.replace("_", "-"): value for name, value in carried.items() if name not in NOT_CARRIED | {"methods"}},
        "methods": list(trials),
        "per-method": {
            method: {**winner.overrides.to_preset(), "trials": len(trials[method])}
            for method, winner in winners.items()
        },
        TRIALS: {
            "rule": RULE,
            **facts,
            "trials": {method: [_row(trial) for trial in tried] for method, tried in trials.items()},
        },
    }


def check_target(path: Path) -> None:
    """Raises ConfigError if the preset would replace a file that `bench tune` did not write, or is no YAML file."""
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--to {path}: the name of a preset ends in .yaml.")
    try:
        content = read_yaml(path) if path.exists() else {TRIALS: None}
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or TRIALS not in content:
        raise ConfigError(f"--to {path} exists and was not written by `bench tune`: name another file.")
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise ConfigError(f"--to {path} cannot be written: {existing} is not a folder that may be written.")


def write_preset(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the preset atomically. Raises ConfigError if it cannot be written."""
    text = yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, HEAD.format(name=path.name) + text)
    except OSError as error:
        raise ConfigError(f"--to {path} cannot be written: {reason(error)}.") from error


def _row(trial: Trial) -> dict[str, Any]:
    score = None if trial.score is None else round(trial.score, 6)
    return {
        "settings": trial.overrides.to_preset(), "validation": score, "failed": trial.failed, "runs": list(trial.runs)
    }  # fmt: skip


def _validation(folder: Path, last: int) -> float:
    rounds = read_parquet(folder / "rounds.parquet", ["validation_mean"]).to_pydict()
    scores = [score for score in rounds.get("validation_mean", ()) if score is not None and not math.isnan(score)]
    if not scores:
        raise ConfigError(f"{folder}: no client has validation samples: raise --validation, or use larger clients.")
    return fmean(scores[-last:])
